//! Chat templates: from messages to the text a model was trained on, as transformers' `apply_chat_template` does it.
//!
//! Templates are Jinja written for Python, so the environment is set up as transformers sets up its own: blocks trimmed,
//! Python string methods, `raise_exception`, and a `tojson` that does not escape HTML. (`strftime_now` is left out: a
//! text that depends on the date of extraction could not be reproduced. A template that calls it is refused.)

use std::path::PathBuf;
use std::str::FromStr;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, Value, context};
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
    /// Compiles a template.
    ///
    /// # Errors
    ///
    /// When the source is not valid Jinja; the error names the line.
    pub fn new(source: &str, bos_token: &str, eos_token: &str) -> Result<Self, Error> {
        let mut environment = Environment::new();
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_filter("tojson", to_json);
        environment.add_template_owned(NAME, source.to_owned())?;
        Ok(Self { environment, bos_token: bos_token.into(), eos_token: eos_token.into() })
    }

    /// The text of a conversation. With `add_generation_prompt`, it ends where the assistant would begin to speak.
    ///
    /// # Errors
    ///
    /// When the template refuses the conversation, for example because roles do not alternate.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, Error> {
        self.environment.get_template(NAME)?.render(context! {
            messages => Serde(messages),
            add_generation_prompt,
            bos_token => self.bos_token.as_str(),
            eos_token => self.eos_token.as_str(),
        })
    }
}

/// `tojson` as transformers defines it: Python's `json.dumps` with `ensure_ascii=False`, so `", "` and `": "` between
/// items when not indented, and no HTML escapes.
#[allow(clippy::needless_pass_by_value)] // the signature minijinja calls
fn to_json(value: Value, options: minijinja::value::Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
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
    fn broken_templates_are_refused_at_once() {
        assert!(ChatTemplate::new("{% for %}", "", "").is_err());
    }
}
