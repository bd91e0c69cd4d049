//! Chat templates: from messages to the text a model was trained on, as transformers' `apply_chat_template` does it.
//!
//! Templates are Jinja written for Python, so the environment is set up as transformers sets up its own: blocks trimmed,
//! Python string methods, `raise_exception`, a `tojson` that does not escape HTML, `generation` blocks (which mark what
//! the assistant says and change nothing in the text), no tools and no documents.
//!
//! One thing is left out: `strftime_now`. A text that depends on the date of extraction could not be reproduced.
//! Templates that ask whether it is defined take their fallback; one that calls it regardless is refused.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State, Value, escape_formatter};
use serde::Serialize;
use whence_shared::pair::Message;

/// Which text form responses are read in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TemplateChoice {
    /// The model's own chat template.
    #[default]
    Model,
    /// No template: raw prompt, then raw response, as the paper's experiments did.
    None,
    /// A Jinja file.
    File(PathBuf),
}

impl FromStr for TemplateChoice {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "model" => Self::Model,
            "none" => Self::None,
            path => Self::File(path.into()),
        })
    }
}

/// A compiled chat template with the special tokens it may use.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos_token: String,
    eos_token: String,
}

const NAME: &str = "chat";

impl ChatTemplate {
    /// Compiles a template. A special token that is the empty text does not exist: the template finds it undefined.
    ///
    /// # Errors
    ///
    /// When the source is not valid Jinja; the error names the line.
    pub fn new(source: &str, bos_token: &str, eos_token: &str) -> Result<Self, Error> {
        let mut environment = Environment::new();
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_formatter(python_formatter);
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_filter("tojson", to_json);
        environment.add_template_owned(NAME, without_generation_tags(source))?;
        Ok(Self { environment, bos_token: bos_token.into(), eos_token: eos_token.into() })
    }

    /// The text of a conversation. With `add_generation_prompt`, it ends where the assistant would begin to speak.
    ///
    /// # Errors
    ///
    /// When the template refuses the conversation, for example because roles do not alternate, or needs something that
    /// is not there; [`needs_what_is_not_there`] tells the two apart.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, Error> {
        let mut context = BTreeMap::from([
            ("messages", Value::from(Serde(messages))),
            ("add_generation_prompt", Value::from(add_generation_prompt)),
            // Defined and none, as transformers passes them: templates tell that from undefined.
            ("tools", Value::from(())),
            ("documents", Value::from(())),
        ]);
        for (name, token) in [("bos_token", &self.bos_token), ("eos_token", &self.eos_token)] {
            if !token.is_empty() {
                context.insert(name, Value::from(token.as_str()));
            }
        }
        self.environment.get_template(NAME)?.render(Value::from_pairs(context)).map_err(explain)
    }
}

/// Whether a template failed because it calls a function, filter, test or method that is not offered here: then it fails
/// for every conversation, and the template is at fault and not the conversation.
pub fn needs_what_is_not_there(error: &Error) -> bool {
    use ErrorKind::{UnknownFilter, UnknownFunction, UnknownMethod, UnknownTest};
    matches!(error.kind(), UnknownFilter | UnknownFunction | UnknownMethod | UnknownTest)
}

/// Says what to do about a template that needs today's date.
fn explain(error: Error) -> Error {
    if error.kind() == ErrorKind::UnknownFunction && error.to_string().contains("strftime_now") {
        let reason = "it writes today's date (strftime_now) into every text, so no two extractions would agree; use \
                      --template FILE with a copy of the template in which the date is written out";
        return Error::new(ErrorKind::UnknownFunction, reason);
    }
    error
}

/// The source with `generation` and `endgeneration` tags replaced by those of a plain scope, line for line. In
/// transformers they delimit what the assistant says, for its mask of assistant tokens; they have a scope of their own.
fn without_generation_tags(source: &str) -> String {
    let mut result = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let Some(len) = rest[start..].find("%}") else { break };
        let (before, tag, after) = (&rest[..start], &rest[start..start + len + 2], &rest[start + len + 2..]);
        let word = tag[2..len].trim_matches(['-', '+']).trim();
        result.push_str(before);
        match word {
            "generation" => result.push_str(&tag.replacen(word, "with", 1)),
            "endgeneration" => result.push_str(&tag.replacen(word, "endwith", 1)),
            _ => result.push_str(tag),
        }
        rest = after;
    }
    result.push_str(rest);
    result
}

/// Prints values as Python does: `None`, `True` and `False` are capitalised.
fn python_formatter(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    if value.is_none() {
        return Ok(out.write_str("None")?);
    }
    match (value.kind(), value.is_true()) {
        (ValueKind::Bool, true) => Ok(out.write_str("True")?),
        (ValueKind::Bool, false) => Ok(out.write_str("False")?),
        _ => escape_formatter(out, state, value),
    }
}

/// `tojson` as transformers defines it: Python's `json.dumps` with `ensure_ascii=False`, so `", "` and `": "` between
/// items when not indented, and no HTML escapes.
#[allow(clippy::needless_pass_by_value)] // the signature minijinja calls
fn to_json(value: Value, options: minijinja::value::Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    // Letters beyond ASCII stay as they are by default, and may be asked to.
    if options.get::<Option<bool>>("ensure_ascii")? == Some(true) {
        return Err(Error::new(ErrorKind::InvalidOperation, "tojson: ensure_ascii=true is not supported"));
    }
    options.assert_all_used()?;
    let failed = |error: serde_json::Error| Error::new(ErrorKind::BadSerialization, error.to_string());
    let mut bytes = Vec::new();
    match indent {
        None => {
            let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, PythonFormatter);
            value.serialize(&mut serializer).map_err(failed)?;
        }
        Some(width) => {
            let spaces = vec![b' '; width];
            let formatter = serde_json::ser::PrettyFormatter::with_indent(&spaces);
            let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
            value.serialize(&mut serializer).map_err(failed)?;
        }
    }
    Ok(String::from_utf8(bytes).expect("JSON is UTF-8"))
}

/// Separators as Python's `json.dumps` puts them by default.
struct PythonFormatter;

impl serde_json::ser::Formatter for PythonFormatter {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str, messages: &[Message], generation: bool) -> Result<String, Error> {
        ChatTemplate::new(source, "<s>", "</s>").unwrap().render(messages, generation)
    }

    #[test]
    fn blocks_are_trimmed_as_in_transformers() {
        let source = "{{ bos_token }}\n{% for m in messages %}\n    {% if true %}\n{{ m.role }}:{{ m['content'].strip() }}\n    {% endif %}\n{% endfor %}\n{% if add_generation_prompt %}A:{% endif %}";
        let messages = [Message::new("user", "  hi "), Message::new("assistant", "yo")];
        assert_eq!(render(source, &messages, true).unwrap(), "<s>\nuser:hi\nassistant:yo\nA:");
    }

    #[test]
    fn json_is_pythons() {
        let messages = [Message::new("user", "<é>")];
        assert_eq!(
            render("{{ messages | tojson }}", &messages, false).unwrap(),
            r#"[{"role": "user", "content": "<é>"}]"#
        );
    }

    #[test]
    fn a_template_can_refuse() {
        let error = render("{{ raise_exception('roles must alternate') }}", &[], false).unwrap_err();
        assert!(error.to_string().contains("roles must alternate"));
    }

    #[test]
    fn tools_and_documents_are_none_and_absent_special_tokens_undefined() {
        let source =
            "{{ tools is none }} {{ documents is none }} {{ bos_token is defined }} {{ eos_token is defined }}";
        let template = ChatTemplate::new(source, "", "</s>").unwrap();
        assert_eq!(template.render(&[], false).unwrap(), "True True False True");
    }

    #[test]
    fn generation_tags_change_nothing_but_keep_their_white_space_control_and_scope() {
        let source = "{% set x = 1 %}a \n  {%- generation -%}  {% set x = 2 %}{{ x }}\n{%+ endgeneration %}\nb{{ x }} {%generation%}c{%  endgeneration  %}";
        assert_eq!(render(source, &[], false).unwrap(), "a2\nb1 c");
        assert_eq!(without_generation_tags("{% if generation %} {% generation"), "{% if generation %} {% generation");
    }

    #[test]
    fn a_date_is_optional_and_a_template_that_insists_on_it_is_refused_with_the_remedy() {
        let source = "{% if strftime_now is defined %}{{ strftime_now('%d') }}{% else %}26 Jul 2024{% endif %}";
        assert_eq!(render(source, &[], false).unwrap(), "26 Jul 2024");
        let error = render("{{ strftime_now('%d') }}", &[], false).unwrap_err();
        assert!(needs_what_is_not_there(&error) && error.to_string().contains("--template FILE"), "{error}");
        let refusal = render("{{ raise_exception('no') }}", &[], false).unwrap_err();
        assert!(!needs_what_is_not_there(&refusal));
    }

    #[test]
    fn broken_templates_are_refused_at_once() {
        assert!(ChatTemplate::new("{% for %}", "", "").is_err());
    }
}
