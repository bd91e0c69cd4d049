//! JSON, read: files, answers and messages, into whatever derives `Deserialize`. Writing it is `serde_json`'s.
//!
//! `serde_json` parses the text, into a `Value`, and says where a text is no JSON. What is here takes types out of the
//! value, as `serde_json::from_value` does and with its results, except that a struct is an object and never a list of its
//! fields, and that `RawValue` is not known. Where a value is of a
//! wrong type, the error says which one it is: `layers[2].shards[0].n_rows`. Of a field that is there twice, the last one
//! counts, as in any `Value`.
//!
//! Why not `serde_json` alone: every type that is read compiles the generic parts of its reader again, and the app is
//! downloaded. They are few here, and as thin as can be: what looks at the value is not generic, a value lies outside of
//! what reads it and so need not be dropped there, and the reader of lists that every struct derives is never compiled.
//! The price is the memory of the `Value`.

use std::fmt::{self, Display};
use std::mem::take;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, Expected, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Number, Value};

/// What is wrong with a text, and where in it.
#[derive(Debug)]
pub struct Error(Box<Trouble>);

#[derive(Debug)]
struct Trouble {
    /// Names and numbers, from the whole value down to the one that is wrong.
    path: String,
    reason: String,
}

impl Error {
    /// The error, of what lies in something larger, where it has this name or number.
    #[cold]
    #[inline(never)]
    fn inside(mut self, step: &str) -> Self {
        let path = &mut self.0.path;
        if !path.is_empty() && !path.starts_with('[') {
            path.insert(0, '.');
        }
        path.insert_str(0, step);
        self
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Trouble { path, reason } = &*self.0;
        if !path.is_empty() {
            write!(f, "{path}: ")?;
        }
        f.write_str(reason)
    }
}

impl std::error::Error for Error {}

impl serde::de::Error for Error {
    #[cold]
    #[inline(never)]
    fn custom<T: Display>(reason: T) -> Self {
        Self(Box::new(Trouble { path: String::new(), reason: reason.to_string() }))
    }
}

/// Reads a text that is one JSON value.
///
/// # Errors
///
/// When it is not JSON, or not that of a `T`.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    from_value(parsed(text)?)
}

/// Reads bytes that are the UTF-8 text of one JSON value.
///
/// # Errors
///
/// As [`from_str`], and when they are not UTF-8.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    // Not with the parser of bytes: the app would carry a second one.
    from_str(std::str::from_utf8(bytes).map_err(Error::custom)?)
}

/// Takes a `T` out of a value.
///
/// # Errors
///
/// When it is not that of a `T`.
pub fn from_value<T: DeserializeOwned>(mut value: Value) -> Result<T, Error> {
    T::deserialize(Thin(&mut value))
}

#[inline(never)]
fn parsed(text: &str) -> Result<Value, Error> {
    serde_json::from_str(text).map_err(Error::custom)
}

/// A value that is read; strings, lists and objects are moved out of it.
struct Thin<'v>(&'v mut Value);

#[inline(never)]
fn kind(value: &Value) -> Unexpected<'_> {
    match value {
        Value::Null => Unexpected::Other("null"),
        Value::Bool(is_true) => Unexpected::Bool(*is_true),
        Value::Number(number) => number_kind(number),
        Value::String(text) => Unexpected::Str(text),
        Value::Array(_) => Unexpected::Seq,
        Value::Object(_) => Unexpected::Map,
    }
}

fn number_kind(number: &Number) -> Unexpected<'static> {
    match (number.as_u64(), number.as_i64(), number.as_f64()) {
        (Some(natural), ..) => Unexpected::Unsigned(natural),
        (_, Some(integer), _) => Unexpected::Signed(integer),
        (.., real) => Unexpected::Float(real.unwrap_or(f64::NAN)),
    }
}

#[inline(never)]
fn items(value: &mut Value, expected: &dyn Expected) -> Result<Items, Error> {
    match value {
        Value::Array(items) => Ok(Items { rest: take(items).into_iter(), item: Value::Null, n_read: 0 }),
        other => Err(Error::invalid_type(kind(other), expected)),
    }
}

/// The same of a list that has no more than `most` items, before any of them is read.
#[inline(never)]
fn items_of(value: &mut Value, most: usize, expected: &dyn Expected) -> Result<Items, Error> {
    let items = items(value, expected)?;
    match items.rest.len() {
        n if n > most => Err(Error::invalid_length(n, &"fewer elements in array")),
        _ => Ok(items),
    }
}

#[inline(never)]
fn fields(value: &mut Value, expected: &dyn Expected) -> Result<Fields, Error> {
    match value {
        Value::Object(fields) => Ok(Fields { rest: take(fields).into_iter(), name: String::new(), value: Value::Null }),
        other => Err(Error::invalid_type(kind(other), expected)),
    }
}

/// A name alone, or an object whose only field is the name with its content.
#[inline(never)]
fn variant(value: &mut Value) -> Result<Variant, Error> {
    match value {
        Value::String(name) => Ok(Variant { name: take(name), content: None, is_inside: false }),
        Value::Object(fields) if fields.len() == 1 => {
            let (name, content) = take(fields).into_iter().next().expect("there is one");
            Ok(Variant { name, content: Some(content), is_inside: false })
        }
        Value::Object(_) => Err(Error::invalid_value(Unexpected::Map, &"map with a single key")),
        other => Err(Error::invalid_type(kind(other), &"string or map")),
    }
}

/// Methods that a value and a name have alike, where `$kind` says what it is.
macro_rules! scalars {
    ($kind:ident, $($number:ident)*) => {
        fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match $kind(self.0) {
                Unexpected::Bool(is_true) => visitor.visit_bool(is_true),
                got => Err(Error::invalid_type(got, &visitor)),
            }
        }

        $(fn $number<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match $kind(self.0) {
                Unexpected::Unsigned(number) => visitor.visit_u64(number),
                Unexpected::Signed(number) => visitor.visit_i64(number),
                Unexpected::Float(number) => visitor.visit_f64(number),
                got => Err(Error::invalid_type(got, &visitor)),
            }
        })*

        fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
            visitor.visit_newtype_struct(self)
        }
    };
}

/// Methods that do what another does, whatever else they are told.
macro_rules! forward {
    ($($method:ident($($told:ty),*) -> $to:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, $(_: $told,)* visitor: V) -> Result<V::Value, Error> {
            self.$to(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for Thin<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(is_true) => visitor.visit_bool(*is_true),
            Value::Number(_) => self.deserialize_f64(visitor),
            Value::String(_) => self.deserialize_string(visitor),
            Value::Array(_) => self.deserialize_seq(visitor),
            Value::Object(_) => self.deserialize_map(visitor),
        }
    }

    scalars!(kind, deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_i8
        deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128 deserialize_f32 deserialize_f64);

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match kind(self.0) {
            Unexpected::Str(text) => visitor.visit_str(text),
            got => Err(Error::invalid_type(got, &visitor)),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::String(text) => visitor.visit_string(take(text)),
            other => Err(Error::invalid_type(kind(other), &visitor)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            other => Err(Error::invalid_type(kind(other), &visitor)),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let items = items(self.0, &visitor)?;
        visitor.visit_seq(items)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        let items = items_of(self.0, len, &visitor)?;
        visitor.visit_seq(items)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let fields = fields(self.0, &visitor)?;
        visitor.visit_map(fields)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let mut variant = variant(self.0)?;
        visitor.visit_enum(&mut variant).map_err(|error| variant.located(error))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward! {
        deserialize_char() -> deserialize_str
        deserialize_identifier() -> deserialize_str
        deserialize_unit_struct(&'static str) -> deserialize_unit
        deserialize_struct(&'static str, &'static [&'static str]) -> deserialize_map
    }

    forward_to_deserialize_any! { bytes byte_buf }
}

/// A list that is being read.
struct Items {
    rest: std::vec::IntoIter<Value>,
    /// The last that was taken out of it.
    item: Value,
    n_read: usize,
}

impl Items {
    #[inline(never)]
    fn next(&mut self) -> bool {
        let next = self.rest.next();
        let is_there = next.is_some();
        self.item = next.unwrap_or_default();
        self.n_read += usize::from(is_there);
        is_there
    }

    #[cold]
    #[inline(never)]
    fn located(&self, error: Error) -> Error {
        error.inside(&format!("[{}]", self.n_read - 1))
    }
}

impl<'de> SeqAccess<'de> for Items {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        if !self.next() {
            return Ok(None);
        }
        seed.deserialize(Thin(&mut self.item)).map(Some).map_err(|error| self.located(error))
    }
}

/// An object that is being read, and the last field that was taken out of it. Its name is only lent: an error needs it.
struct Fields {
    rest: serde_json::map::IntoIter,
    name: String,
    value: Value,
}

impl Fields {
    #[inline(never)]
    fn next(&mut self) -> bool {
        let next = self.rest.next();
        let is_there = next.is_some();
        (self.name, self.value) = next.unwrap_or_default();
        is_there
    }
}

impl<'de> MapAccess<'de> for Fields {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        if !self.next() {
            return Ok(None);
        }
        seed.deserialize(Name(&self.name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(Thin(&mut self.value)).map_err(|error| error.inside(&self.name))
    }
}

/// A variant of an enum that is being read.
struct Variant {
    name: String,
    content: Option<Value>,
    /// Whether it is one that the enum has.
    is_inside: bool,
}

impl Variant {
    #[inline(never)]
    fn content(&mut self, expected: &dyn Expected) -> Result<Thin<'_>, Error> {
        self.content.as_mut().map(Thin).ok_or_else(|| Error::invalid_type(Unexpected::UnitVariant, expected))
    }

    #[cold]
    #[inline(never)]
    fn located(&self, error: Error) -> Error {
        if self.is_inside { error.inside(&self.name) } else { error }
    }
}

impl<'de> EnumAccess<'de> for &mut Variant {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let variant = seed.deserialize(Name(&self.name))?;
        self.is_inside = true;
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for &mut Variant {
    type Error = Error;

    #[inline(never)]
    fn unit_variant(self) -> Result<(), Error> {
        match &self.content {
            None | Some(Value::Null) => Ok(()),
            Some(got) => Err(Error::invalid_type(kind(got), &"unit")),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self.content(&"newtype variant")?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        self.content(&"tuple variant")?.deserialize_tuple(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        self.content(&"struct variant")?.deserialize_map(visitor)
    }
}

/// The name of a field or a variant. Where fields are named by numbers, numbers stand in it as text.
struct Name<'n>(&'n str);

#[inline(never)]
fn name_kind(name: &str) -> Unexpected<'_> {
    match name {
        "true" => Unexpected::Bool(true),
        "false" => Unexpected::Bool(false),
        _ => name.parse::<Number>().map_or(Unexpected::Str(name), |number| number_kind(&number)),
    }
}

impl<'de> Deserializer<'de> for Name<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.0)
    }

    scalars!(name_kind, deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_i8
        deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128 deserialize_f32 deserialize_f64);

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(StrDeserializer::new(self.0))
    }

    forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Debug;

    use serde::de::IgnoredAny;
    use serde::{Deserialize, Serialize};
    use serde_json::Value;

    use super::*;
    use crate::api::{Decision, Decisions, DecisionsChange};
    use crate::clustering::Method;
    use crate::edit::Decision as Action;

    #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
    struct Unit;

    #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
    struct Meters(f32);

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    enum Ask {
        Pause,
        Rank(Box<Everything>),
        Sum(Vec<(f64, String)>),
        Block(usize, usize),
        Failed { id: u32, why: Option<String> },
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Loose {
        Number(i64),
        Text(String),
        Fields { a: u8 },
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case", tag = "kind")]
    enum Tagged {
        Empty,
        OfBins { bins: BTreeMap<String, [f32; 2]>, is_open: bool },
    }

    #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    enum Colour {
        Red,
        Blue,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Part {
        a: u8,
        b: Option<Vec<i16>>,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Everything {
        bytes: (u8, i8, u16, i16, u32, i32),
        wide: (u64, i64),
        reals: Vec<f64>,
        narrow: [f32; 3],
        text: String,
        letter: char,
        nothing: (),
        unit: Unit,
        meters: Meters,
        some: Option<bool>,
        none: Option<Box<str>>,
        #[serde(default)]
        left_out: Vec<String>,
        by_number: BTreeMap<i32, String>,
        by_colour: BTreeMap<Colour, u32>,
        by_truth: BTreeMap<bool, Meters>,
        loose: Vec<Loose>,
        tagged: Vec<Tagged>,
        any: Value,
        #[serde(flatten)]
        part: Part,
    }

    fn everything() -> Everything {
        Everything {
            bytes: (255, -128, 65_535, -32_768, u32::MAX, i32::MIN),
            wide: (u64::MAX, i64::MIN),
            reals: vec![0.0, -0.0, 1.0, -1.5, 1e300, 5e-324, 0.1, 1.0 / 3.0, 12_345_678_901_234_567_890.0],
            narrow: [0.1, f32::MAX, f32::MIN_POSITIVE],
            text: "plain, \"quoted\", \\ / \u{8}\u{c}\n\r\t\u{1} ä 語 \u{1F980}".into(),
            letter: '語',
            nothing: (),
            unit: Unit,
            meters: Meters(2.5),
            some: Some(true),
            none: None,
            left_out: Vec::new(),
            by_number: [(-3, "a".into()), (7, String::new())].into(),
            by_colour: [(Colour::Red, 1), (Colour::Blue, 2)].into(),
            by_truth: [(false, Meters(0.0)), (true, Meters(1.0))].into(),
            loose: vec![Loose::Number(-4), Loose::Text("x".into()), Loose::Fields { a: 3 }],
            tagged: vec![
                Tagged::Empty,
                Tagged::OfBins { bins: [("0".into(), [0.0, 1.0]), ("10".into(), [0.5, 0.25])].into(), is_open: false },
            ],
            any: serde_json::json!({"a": [1, -2, 0.5, null, true, "s", {}, []], "b\"": {"c": "d"}}),
            part: Part { a: 9, b: Some(vec![1, 2, 3]) },
        }
    }

    /// Whether a text is read, and equally by both readers.
    fn is_read<T: DeserializeOwned + PartialEq + Debug>(text: &str) -> bool {
        match (from_str::<T>(text), serde_json::from_str::<T>(text)) {
            (Ok(value), Ok(expected)) => {
                assert_eq!(value, expected, "{text}");
                true
            }
            (Err(_), Err(_)) => false,
            (got, expected) => panic!("{text}: expected {expected:?}, got {got:?}"),
        }
    }

    fn comes_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
        for text in [serde_json::to_string(value).unwrap(), serde_json::to_string_pretty(value).unwrap()] {
            assert_eq!(from_str::<T>(&text).unwrap_or_else(|error| panic!("{error}: {text}")), *value);
            assert_eq!(from_slice::<T>(text.as_bytes()).unwrap(), *value);
        }
    }

    fn error<T: DeserializeOwned + Debug>(text: &str) -> String {
        from_str::<T>(text).unwrap_err().to_string()
    }

    #[test]
    fn what_is_written_is_read() {
        comes_back(&everything());
        for ask in [
            Ask::Pause,
            Ask::Rank(Box::new(everything())),
            Ask::Sum(vec![(0.1, "a".into()), (-2.0, "b".into())]),
            Ask::Block(3, 4),
            Ask::Failed { id: 7, why: None },
            Ask::Failed { id: 7, why: Some("because".into()) },
        ] {
            comes_back(&ask);
        }
        let decision = Decision { row: 7, id: "a\tb".into(), action: Action::Switch, note: "why".into() };
        let decided = vec![decision; 2];
        comes_back(&Decisions {
            version: 3,
            decisions: decided.clone(),
            undo: Some("1 pair".into()),
            ..Decisions::default()
        });
        comes_back(&DecisionsChange { version: u64::MAX, decided, removed: vec![1, 2], ..DecisionsChange::default() });
        comes_back(&Method::Kmeans { k: 7, n_starts: 1, in_batches: true });
    }

    #[test]
    fn a_struct_is_an_object_and_its_fields_are_all_there() {
        assert!(is_read::<Part>("{\"b\":null,\"a\":1}"));
        assert!(is_read::<Part>("{\"a\":1,\"c\":{\"a\":[1,{}]}}"), "what is not known is passed over");
        assert!(!is_read::<Part>("{\"b\":[]}"));
        assert_eq!(error::<Part>("[1,null]"), "invalid type: sequence, expected struct Part");
    }

    #[test]
    fn a_tuple_needs_its_items_and_no_others() {
        for list in ["[1]", "[1,2,3]"] {
            assert!(!is_read::<(u8, u8)>(list), "{list}");
            assert!(!is_read::<Ask>(&format!("{{\"Block\":{list}}}")), "{list}");
        }
        assert!(is_read::<(u8, u8)>("[1,2]") && is_read::<Ask>("{\"Block\":[1,2]}"));
    }

    #[test]
    fn an_error_says_what_and_where() {
        for (text, expected) in [
            ("", "EOF while parsing a value at line 1 column 0"),
            ("{\"a\":1", "EOF while parsing an object at line 1 column 6"),
            ("{\"a\":1 \"b\":[]}", "expected `,` or `}` at line 1 column 8"),
            ("{\"a\":1}\n\nx", "trailing characters at line 3 column 1"),
            ("{}", "missing field `a`"),
            ("{\"a\":1,\n \"b\":[1,\"x\"]}", "b[1]: invalid type: string \"x\", expected i16"),
            ("{\"a\":null}", "a: invalid type: null, expected u8"),
            ("{\"a\":1.5}", "a: invalid type: floating point `1.5`, expected u8"),
            ("{\"a\":256}", "a: invalid value: integer `256`, expected u8"),
        ] {
            assert_eq!(error::<Part>(text), expected, "{text}");
        }
        assert_eq!(error::<[Option<Part>; 2]>("[null,{}]"), "[1]: missing field `a`");
        let by_name = error::<BTreeMap<String, Vec<Vec<Decision>>>>("{\"x\":[[],[{\"row\":-1}]]}");
        assert_eq!(by_name, "x[1][0].row: invalid value: integer `-1`, expected usize");
        for (text, expected) in [
            ("\"Stop\"", "unknown variant `Stop`, expected one of `Pause`, `Rank`, `Sum`, `Block`, `Failed`"),
            ("{\"Stop\":1}", "unknown variant `Stop`, expected one of `Pause`, `Rank`, `Sum`, `Block`, `Failed`"),
            ("\"Block\"", "Block: invalid type: unit variant, expected tuple variant"),
            ("{\"Pause\":1}", "Pause: invalid type: integer `1`, expected unit"),
            ("{\"Pause\":null,\"Block\":[1,2]}", "invalid value: map, expected map with a single key"),
            ("[]", "invalid type: sequence, expected string or map"),
            ("{\"Sum\":[[1,\"\"],[1,2]]}", "Sum[1][1]: invalid type: integer `2`, expected a string"),
            ("{\"Failed\":{\"id\":[]}}", "Failed.id: invalid type: sequence, expected u32"),
        ] {
            assert_eq!(error::<Ask>(text), expected, "{text}");
        }
        assert!(from_slice::<Value>(b"\"\xff\"").unwrap_err().to_string().contains("utf-8"));
    }

    #[test]
    fn names_are_read_as_what_they_are_for() {
        for name in
            ["0", "-0", "7", "-7", "256", "1.0", "1e2", "01", " 1", "1 ", "1x", "", "true", "True", "null", "Red"]
        {
            let text = format!("{{{name:?}:1}}");
            is_read::<BTreeMap<u8, u8>>(&text);
            is_read::<BTreeMap<i64, u8>>(&text);
            is_read::<BTreeMap<bool, u8>>(&text);
            is_read::<BTreeMap<char, u8>>(&text);
            is_read::<BTreeMap<Option<String>, u8>>(&text);
            is_read::<BTreeMap<Colour, u8>>(&text);
        }
    }

    /// The value and all that lies in it, as JSON Pointers.
    fn parts(value: &Value, at: &str) -> Vec<String> {
        let inside: Vec<(String, &Value)> = match value {
            Value::Array(items) => items.iter().enumerate().map(|(i, item)| (i.to_string(), item)).collect(),
            Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), value)).collect(),
            _ => Vec::new(),
        };
        let inside = inside.into_iter().flat_map(|(step, value)| parts(value, &format!("{at}/{step}")));
        inside.chain([at.to_owned()]).collect()
    }

    #[test]
    fn whatever_stands_anywhere_is_refused_or_read_as_serde_json_does() {
        let whole = serde_json::to_value(Ask::Rank(Box::new(everything()))).unwrap();
        let others =
            serde_json::json!([null, true, 7, -7, 300, 0.5, "s", "7", [], [1, 2], {}, {"a": 1}, {"Red": null}]);
        let mut n_read = 0;
        for part in parts(&whole, "") {
            for other in others.as_array().unwrap() {
                let mut value = whole.clone();
                *value.pointer_mut(&part).unwrap() = other.clone();
                n_read += usize::from(is_read::<Ask>(&value.to_string()));
            }
        }
        assert!(n_read > 100, "{n_read}");
    }

    #[test]
    fn depth_is_that_of_serde_json() {
        for depth in [126, 127, 128, 10_000] {
            let lists = "[".repeat(depth) + &"]".repeat(depth);
            assert_eq!(is_read::<Value>(&lists), depth <= 127);
            assert_eq!(from_str::<IgnoredAny>(&lists).is_ok(), depth <= 127);
        }
    }
}
