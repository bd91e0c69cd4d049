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
        environment.set_unknown_method_callback(python_method);
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

/// Prints values as Python does: `None`, `True`, `['a', 1]`.
fn python_formatter(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::None | ValueKind::Bool | ValueKind::Seq | ValueKind::Map => Ok(out.write_str(&python_repr(value))?),
        _ => escape_formatter(out, state, value),
    }
}

/// Python's `repr` of what templates hold.
fn python_repr(value: &Value) -> String {
    let items = |value: &Value| value.try_iter().into_iter().flatten().collect::<Vec<Value>>();
    match value.kind() {
        ValueKind::None => "None".to_owned(),
        ValueKind::Bool => (if value.is_true() { "True" } else { "False" }).to_owned(),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
            let escaped = text.replace('\\', "\\\\").replace('\n', "\\n").replace('\t', "\\t").replace('\r', "\\r");
            let escaped = if quote == '\'' { escaped.replace('\'', "\\'") } else { escaped };
            format!("{quote}{escaped}{quote}")
        }
        ValueKind::Seq => format!("[{}]", items(value).iter().map(python_repr).collect::<Vec<_>>().join(", ")),
        ValueKind::Map => {
            let entry = |key: &Value| {
                format!("{}: {}", python_repr(key), python_repr(&value.get_item(key).unwrap_or_default()))
            };
            format!("{{{}}}", items(value).iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        _ => value.to_string(),
    }
}

/// Python's methods of strings, lists and dictionaries: minijinja's, and those that it lacks.
fn python_method(state: &mut State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    if let (Some(text), [affix], "removeprefix" | "removesuffix") = (value.as_str(), args, method)
        && let Some(affix) = affix.as_str()
    {
        let stripped = if method == "removeprefix" { text.strip_prefix(affix) } else { text.strip_suffix(affix) };
        return Ok(Value::from(stripped.unwrap_or(text)));
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args)
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

    /// What jinja2 3.1.6 prints, set up as transformers does.
    const IN_PYTHON: [(&str, &str); 33] = [
        ("{{ messages[0].get('functions', none) is none }}", "True"),
        ("{{ messages[-1]['content'][1:-1] }}", "ok"),
        ("{{ messages[0].content.strip().split('\\n') | map('upper') | join('+') }}", "HI THERE+YOU"),
        ("{% for m in messages if m.role != 'user' %}{{ loop.index }}{{ m.role.title() }}{% endfor %}", "1Assistant"),
        ("{% for m in messages if m.role == 'tool' %}{{ m }}{% else %}none{% endfor %}", "none"),
        ("{% set x %}<{{ messages | length }}>{% endset %}{{ x }}", "<2>"),
        ("{{ 'a' if messages | length > 5 }}|", "|"),
        (
            "{{ none }} {{ true }} {{ 1.0 }} {{ [1, 'a', none, true] }} {{ {'k': \"it's\"} }}",
            "None True 1.0 [1, 'a', None, True] {'k': \"it's\"}",
        ),
        ("{{ messages | map(attribute='role') | unique | list | length }}", "2"),
        ("{{ messages | selectattr('role', 'in', ['user', 'tool']) | list | length }}", "1"),
        ("{{ (messages | first).role }}{{ (messages | last)['role'] }}", "userassistant"),
        ("{{ messages[0] | items | list | length }}", "2"),
        ("{{ '%s-%s' | format('a', 1) }} {{ 'x'.join(['a', 'b']) }} {{ 'ab' in 'cabd' }}", "a-1 axb True"),
        ("{{ messages[0].content | replace('Hi', 'Ho') | trim }}", "Ho there\nyou"),
        (
            "{% set ns = namespace(n=0) %}{% for m in messages %}{% if loop.last %}{% continue %}{% endif %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
            "1",
        ),
        ("{{ {'b': [1, 2], 'a': {}} | tojson(indent=1) }}", "{\n \"b\": [\n  1,\n  2\n ],\n \"a\": {}\n}"),
        ("{{ 7 // 2 }} {{ 7 % 2 }} {{ 2 ** 3 }} {{ 'ab' * 2 }} {{ 7 / 2 }}", "3 1 8 abab 3.5"),
        (
            "{{ messages[0].content is string and messages is iterable and messages[0] is mapping and messages is sequence }}",
            "True",
        ),
        ("{{ messages[0].content.strip().startswith('Hi') and not messages[0].content.endswith('x') }}", "True"),
        (
            "{{ x }}|{{ x is defined }}|{{ x or 'd' }}|{{ x | default('e') }}|{{ messages[5] is defined }}",
            "|False|d|e|False",
        ),
        ("{% macro f(a, b=2) %}{{ a }}{{ b }}{% endmacro %}{{ f(1) }}{{ f(1, b=3) }}", "1213"),
        (
            "{{ dict(a=1).a }} {{ 'abc'[::-1] }} {{ 'a,b,c'.split(',', 1)[1] }} {{ 'abc' | last }} {{ 'AbC'.lower() }}",
            "1 cba b,c c abc",
        ),
        (
            "{{ '  a '.rstrip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'a\\nb'.splitlines() | length }}|{{ 'abcabc'.rfind('b') }}",
            "  a|a|2|4",
        ),
        ("{{ 'abc'.removeprefix('a') }} {{ 'abc'.removesuffix('x') }}", "bc abc"),
        ("{{ 5 | string + 'a' }} {{ '1' | int + 1 }}", "5a 2"),
        ("{{ messages | reverse | map(attribute='role') | join(',') }}", "assistant,user"),
        ("{% set a, b = 1, 2 %}{{ a + b }}", "3"),
        ("{{ '{}:{}'.format(1, 'a') }} {{ {'a': 1}.keys() | list }} {{ [1, 2] + [3] }}", "1:a ['a'] [1, 2, 3]"),
        ("{{ {'b': 1, 'a': 2} | dictsort | first | first }} {{ messages | groupby('role') | length }}", "a 2"),
        ("{{ none is none and 1 is number and 'a' is not number and true is boolean }}", "True"),
        ("{{ 'a' | indent(2, true) }}|{{ 'it' 'self' }}", "  a|itself"),
        ("{{ messages[0].content | tojson }}", "\" Hi there\\nyou \""),
        ("{%- if not loop is defined %}{{ 'x' ~ 3 ~ '\\n' }}{% endif -%}   y", "x3\ny"),
    ];

    #[test]
    fn what_templates_use_of_python_means_what_it_means_there() {
        let messages = [Message::new("user", " Hi there\nyou "), Message::new("assistant", "(ok)")];
        let wrong: Vec<String> = IN_PYTHON
            .iter()
            .filter_map(|(source, expected)| {
                let got =
                    ChatTemplate::new(source, "<s>", "</s>").and_then(|template| template.render(&messages, false));
                let got = got.unwrap_or_else(|error| format!("{error:#}"));
                (got != *expected).then(|| format!("{source}: expected {expected:?}, got {got:?}"))
            })
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn broken_templates_are_refused_at_once() {
        assert!(ChatTemplate::new("{% for %}", "", "").is_err());
    }
}
