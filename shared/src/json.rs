//! JSON, read: files, answers and messages, into whatever derives `Deserialize`. Writing it is `serde_json`'s.
//!
//! Takes what `serde_json` takes, down to the depth of nesting, with four exceptions: a struct is an object and never a
//! list of its fields, bytes are not read from text, `RawValue` is not known, and a fraction is read to the last bit.
//!
//! Every type that is read compiles the generic parts of its reader again, and the app is downloaded. So they are few here
//! and as thin as can be: what looks at the text is not generic, the end of a list or an object is checked where no value
//! is at hand that would have to be dropped again, and the reader of lists that every struct derives is never compiled.

use std::fmt::{self, Display};

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, Expected, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

/// Lists and objects within each other that a value may consist of.
const MAX_DEPTH: u32 = 127;

/// What is wrong with a text, and where in it.
#[derive(Debug)]
pub struct Error(Box<Trouble>);

#[derive(Debug)]
struct Trouble {
    reason: String,
    /// Line and column, from 1; the column counts bytes.
    place: Option<(usize, usize)>,
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0.reason)?;
        match self.0.place {
            Some((line, column)) => write!(f, " at line {line} column {column}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

impl serde::de::Error for Error {
    #[cold]
    #[inline(never)]
    fn custom<T: Display>(reason: T) -> Self {
        Self(Box::new(Trouble { reason: reason.to_string(), place: None }))
    }

    #[cold]
    #[inline(never)]
    fn invalid_type(got: Unexpected, expected: &dyn Expected) -> Self {
        match got {
            Unexpected::Unit => Self::custom(format_args!("invalid type: null, expected {expected}")),
            got => Self::custom(format_args!("invalid type: {got}, expected {expected}")),
        }
    }
}

/// Reads a text that is one JSON value.
///
/// # Errors
///
/// When it is not JSON, or not that of a `T`.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    let mut reader = Reader::new(text);
    let read = T::deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    read.map_err(|error| reader.placed(error))
}

/// Reads bytes that are the UTF-8 text of one JSON value.
///
/// # Errors
///
/// As [`from_str`], and when they are not UTF-8.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    from_str(std::str::from_utf8(bytes).map_err(Error::custom)?)
}

/// A text that is read from its beginning to its end.
struct Reader<'t> {
    text: &'t str,
    /// Bytes of it that are read.
    at: usize,
    /// Lists and objects that are open.
    depth: u32,
    /// A string that does not stand in the text as it is read, because of escapes.
    unescaped: String,
    /// What is wrong with the end of a value that was read otherwise, and where. Nothing after it is read.
    bad_end: Option<(&'static str, usize)>,
}

/// A list or an object that is being read.
#[derive(Clone, Copy)]
struct Level {
    closing: u8,
    depth: u32,
    is_first: bool,
}

#[derive(Clone, Copy)]
enum Number {
    Natural(u64),
    Negative(i64),
    Real(f64),
}

impl Number {
    fn visit<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Natural(number) => visitor.visit_u64(number),
            Self::Negative(number) => visitor.visit_i64(number),
            Self::Real(number) => visitor.visit_f64(number),
        }
    }

    fn unexpected(self) -> Unexpected<'static> {
        match self {
            Self::Natural(number) => Unexpected::Unsigned(number),
            Self::Negative(number) => Unexpected::Signed(number),
            Self::Real(number) => Unexpected::Float(number),
        }
    }
}

impl<'t> Reader<'t> {
    fn new(text: &'t str) -> Self {
        Self { text, at: 0, depth: 0, unescaped: String::new(), bad_end: None }
    }

    #[cold]
    #[inline(never)]
    fn wrong<T>(&self, reason: &str) -> Result<T, Error> {
        Err(Error::custom(reason))
    }

    /// The error, and where reading stopped.
    #[cold]
    #[inline(never)]
    fn placed(&self, error: Error) -> Error {
        let (reason, at) = match self.bad_end {
            Some((reason, at)) => (reason.to_owned(), at),
            None => (error.0.reason, self.at),
        };
        let before = &self.text.as_bytes()[..at];
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        let line = 1 + before[..line_start].iter().filter(|byte| **byte == b'\n').count();
        Error(Box::new(Trouble { reason, place: Some((line, at - line_start + 1)) }))
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The byte that the next token begins with.
    fn token(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\t' | b'\r');
        self.at += rest.iter().position(|byte| !is_space(byte)).unwrap_or(rest.len());
        self.byte()
    }

    /// The byte that the next value begins with.
    fn value(&mut self) -> Result<u8, Error> {
        self.token().map_or_else(|| self.wrong("EOF while parsing a value"), Ok)
    }

    /// Reads one of the three words that are values.
    fn word(&mut self, word: &str) -> Result<(), Error> {
        let n_same = self.text.as_bytes()[self.at..].iter().zip(word.as_bytes()).take_while(|(a, b)| a == b).count();
        self.at += n_same;
        match self.byte() {
            _ if n_same == word.len() => Ok(()),
            None => self.wrong("EOF while parsing a value"),
            Some(_) => self.wrong("expected ident"),
        }
    }

    /// Enters the list or the object that begins here.
    fn enter(&mut self) -> Level {
        let closing = if self.byte() == Some(b'[') { b']' } else { b'}' };
        self.at += 1;
        self.depth += 1;
        Level { closing, depth: self.depth, is_first: true }
    }

    /// The same when there must be one.
    fn open(&mut self, opening: u8, expected: &dyn Expected) -> Result<Level, Error> {
        if self.value()? != opening {
            return Err(self.unexpected(expected));
        }
        if self.depth == MAX_DEPTH {
            return self.wrong("recursion limit exceeded");
        }
        Ok(self.enter())
    }

    /// Whether there is another item or field; where there is none, the list or object is left.
    fn next(&mut self, level: &mut Level) -> Result<bool, Error> {
        let is_list = level.closing == b']';
        let Some(token) = self.token() else {
            return self.wrong(if is_list { "EOF while parsing a list" } else { "EOF while parsing an object" });
        };
        if token == level.closing {
            self.at += 1;
            self.depth -= 1;
            return Ok(false);
        }
        if std::mem::take(&mut level.is_first) {
            return Ok(true);
        }
        if token != b',' {
            return self.wrong(if is_list { "expected `,` or `]`" } else { "expected `,` or `}`" });
        }
        self.at += 1;
        match self.token() == Some(level.closing) {
            true => self.wrong("trailing comma"),
            false => Ok(true),
        }
    }

    /// Leaves a list or an object if its reader was content before its end.
    fn leave(&mut self, level: Level) {
        if self.depth < level.depth || self.bad_end.is_some() {
            return;
        }
        if self.token() == Some(level.closing) {
            self.at += 1;
            self.depth -= 1;
        } else {
            self.bad_end = Some(("trailing characters", self.at));
            self.at = self.text.len();
        }
    }

    fn end(&mut self) -> Result<(), Error> {
        match self.token() {
            None if self.bad_end.is_none() => Ok(()),
            _ => self.wrong("trailing characters"),
        }
    }

    /// Up to the next byte of a string that does not stand for itself.
    fn run(&mut self) -> Result<u8, Error> {
        let rest = &self.text.as_bytes()[self.at..];
        let n = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
        self.at += n.unwrap_or(rest.len());
        match self.byte() {
            None => self.wrong("EOF while parsing a string"),
            Some(0..0x20) => self.wrong("control character (\\u0000-\\u001F) found while parsing a string"),
            Some(byte) => Ok(byte),
        }
    }

    /// Reads the string that begins here.
    fn string(&mut self) -> Result<&str, Error> {
        self.at += 1;
        self.unescaped.clear();
        let mut start = self.at;
        let mut is_escaped = false;
        loop {
            let byte = self.run()?;
            let run = &self.text[start..self.at];
            self.at += 1;
            match (byte, is_escaped) {
                (b'"', false) => return Ok(run),
                (b'"', true) => {
                    self.unescaped.push_str(run);
                    return Ok(&self.unescaped);
                }
                _ => {
                    self.unescaped.push_str(run);
                    let char = self.escape()?;
                    self.unescaped.push(char);
                    start = self.at;
                    is_escaped = true;
                }
            }
        }
    }

    /// What a backslash and the next bytes stand for.
    fn escape(&mut self) -> Result<char, Error> {
        let Some(byte) = self.byte() else { return self.wrong("EOF while parsing a string") };
        self.at += 1;
        Ok(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let mut units = [self.unit()?, 0];
                let is_pair = (0xD800..0xDC00).contains(&units[0]);
                if is_pair && self.text[self.at..].starts_with("\\u") {
                    self.at += 2;
                    units[1] = self.unit()?;
                }
                match char::decode_utf16(units[..1 + usize::from(is_pair)].iter().copied()).next() {
                    Some(Ok(char)) => char,
                    _ => return self.wrong("lone surrogate in hex escape"),
                }
            }
            _ => return self.wrong("invalid escape"),
        })
    }

    /// Four digits of a character, to the base of sixteen.
    fn unit(&mut self) -> Result<u16, Error> {
        let mut unit = 0;
        for _ in 0..4 {
            match self.byte().map(|byte| char::from(byte).to_digit(16)) {
                Some(Some(digit)) => unit = unit << 4 | digit as u16,
                Some(None) => return self.wrong("invalid escape"),
                None => return self.wrong("EOF while parsing a string"),
            }
            self.at += 1;
        }
        Ok(unit)
    }

    /// Reads the name of a field or a variant, and the colon after it.
    fn name(&mut self) -> Result<&str, Error> {
        match self.token() {
            Some(b'"') => {}
            None => return self.wrong("EOF while parsing a value"),
            Some(_) => return self.wrong("key must be a string"),
        }
        // Where it lies: the colon is read before the name is handed out.
        let start = self.at + 1;
        let n_bytes = self.string()?.len();
        let end = self.at - 1;
        match self.token() {
            Some(b':') => self.at += 1,
            None => return self.wrong("EOF while parsing an object"),
            Some(_) => return self.wrong("expected `:`"),
        }
        // An escape is longer than what it stands for.
        Ok(if end - start == n_bytes { &self.text[start..end] } else { &self.unescaped })
    }

    /// Reads digits, of which there must be one.
    fn digits(&mut self) -> Result<(), Error> {
        let rest = &self.text.as_bytes()[self.at..];
        let n = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
        self.at += n;
        match n {
            0 if rest.is_empty() => self.wrong("EOF while parsing a value"),
            0 => self.wrong("invalid number"),
            _ => Ok(()),
        }
    }

    /// Reads the digits and signs of a number; whether it is written as an integer.
    fn numeral(&mut self) -> Result<bool, Error> {
        self.at += usize::from(self.byte() == Some(b'-'));
        let start = self.at;
        self.digits()?;
        if self.at - start > 1 && self.text.as_bytes()[start] == b'0' {
            return self.wrong("invalid number");
        }
        let mut is_integer = true;
        if self.byte() == Some(b'.') {
            is_integer = false;
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            is_integer = false;
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(is_integer)
    }

    /// Reads the number that begins here.
    fn number(&mut self) -> Result<Number, Error> {
        let start = self.at;
        let is_integer = self.numeral()?;
        let text = &self.text[start..self.at];
        if is_integer {
            if let Ok(number) = text.parse() {
                return Ok(Number::Natural(number));
            }
            // Minus zero is no integer.
            if let Ok(number @ ..0) = text.parse() {
                return Ok(Number::Negative(number));
            }
        }
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Number::Real(number)),
            _ => self.wrong("number out of range"),
        }
    }

    /// The same when there must be one.
    fn expect_number(&mut self, expected: &dyn Expected) -> Result<Number, Error> {
        match self.value()? {
            b'-' | b'0'..=b'9' => self.number(),
            _ => Err(self.unexpected(expected)),
        }
    }

    fn expect_string(&mut self, expected: &dyn Expected) -> Result<&str, Error> {
        match self.value()? {
            b'"' => self.string(),
            _ => Err(self.unexpected(expected)),
        }
    }

    fn expect_bool(&mut self, expected: &dyn Expected) -> Result<bool, Error> {
        match self.value()? {
            b't' => self.word("true").map(|()| true),
            b'f' => self.word("false").map(|()| false),
            _ => Err(self.unexpected(expected)),
        }
    }

    fn expect_null(&mut self, expected: &dyn Expected) -> Result<(), Error> {
        match self.value()? {
            b'n' => self.word("null"),
            _ => Err(self.unexpected(expected)),
        }
    }

    /// Reads up to the name of a variant; its content, if it has one, is inside the object that is entered.
    fn variant(&mut self, expected: &dyn Expected) -> Result<Option<Level>, Error> {
        if self.value()? == b'"' {
            return Ok(None);
        }
        let mut level = self.open(b'{', expected)?;
        match self.next(&mut level)? {
            true => Ok(Some(level)),
            false => self.wrong("expected value"),
        }
    }

    /// Says that the value here is another than expected.
    #[cold]
    #[inline(never)]
    fn unexpected(&mut self, expected: &dyn Expected) -> Error {
        let got = match self.byte() {
            Some(b'n') => self.word("null").map(|()| Unexpected::Unit),
            Some(b't') => self.word("true").map(|()| Unexpected::Bool(true)),
            Some(b'f') => self.word("false").map(|()| Unexpected::Bool(false)),
            Some(b'-' | b'0'..=b'9') => self.number().map(Number::unexpected),
            Some(b'"') => self.string().map(Unexpected::Str),
            Some(b'[') => Ok(Unexpected::Seq),
            Some(b'{') => Ok(Unexpected::Map),
            _ => self.wrong("expected value"),
        };
        got.map_or_else(|error| error, |got| Error::invalid_type(got, expected))
    }

    /// Reads a value that nobody wants, however deep.
    fn skip(&mut self) -> Result<(), Error> {
        let mut levels: Vec<Level> = Vec::new();
        loop {
            match self.value()? {
                b'[' | b'{' => levels.push(self.enter()),
                b'"' => self.skip_string()?,
                b'n' => self.word("null")?,
                b't' => self.word("true")?,
                b'f' => self.word("false")?,
                b'-' | b'0'..=b'9' => drop(self.numeral()?),
                _ => return self.wrong("expected value"),
            }
            // Out of what ends here, and on to the next value.
            loop {
                let Some(level) = levels.last_mut() else { return Ok(()) };
                if self.next(level)? {
                    if level.closing == b'}' {
                        self.name()?;
                    }
                    break;
                }
                levels.pop();
            }
        }
    }

    fn skip_string(&mut self) -> Result<(), Error> {
        self.at += 1;
        while self.run()? == b'\\' {
            self.at += 1;
            if self.byte() == Some(b'u') {
                // Half a character does no harm where nobody reads it.
                self.at += 1;
                self.unit()?;
            } else {
                self.escape()?;
            }
        }
        self.at += 1;
        Ok(())
    }
}

/// `deserialize_u32` and its like, of a [`Reader`] or a [`Name`].
macro_rules! numbers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let number = self.expect_number(&visitor)?;
            number.visit(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for &mut Reader<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value()? {
            b'n' => self.deserialize_unit(visitor),
            b't' | b'f' => self.deserialize_bool(visitor),
            b'"' => self.deserialize_str(visitor),
            b'[' => self.deserialize_seq(visitor),
            b'{' => self.deserialize_map(visitor),
            _ => self.deserialize_f64(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let value = self.expect_bool(&visitor)?;
        visitor.visit_bool(value)
    }

    numbers!(deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_i8 deserialize_i16
        deserialize_i32 deserialize_i64 deserialize_f32 deserialize_f64);

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let text = self.expect_string(&visitor)?;
        visitor.visit_str(text)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value()? {
            b'n' => {
                self.word("null")?;
                visitor.visit_none()
            }
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.expect_null(&visitor)?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let level = self.open(b'[', &visitor)?;
        let value = visitor.visit_seq(Inside { reader: self, level });
        if value.is_ok() {
            self.leave(level);
        }
        value
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let level = self.open(b'{', &visitor)?;
        let value = visitor.visit_map(Inside { reader: self, level });
        if value.is_ok() {
            self.leave(level);
        }
        value
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    /// A name alone, or an object whose only field is the name with its content.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let level = self.variant(&visitor)?;
        let value = visitor.visit_enum(Variant { reader: self, has_content: level.is_some() });
        if let (Ok(_), Some(level)) = (&value, level) {
            self.leave(level);
        }
        value
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.skip()?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { bytes byte_buf }
}

/// What stands in a list or an object.
struct Inside<'r, 't> {
    reader: &'r mut Reader<'t>,
    level: Level,
}

impl<'de> SeqAccess<'de> for Inside<'_, '_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        match self.reader.next(&mut self.level)? {
            true => seed.deserialize(&mut *self.reader).map(Some),
            false => Ok(None),
        }
    }
}

impl<'de> MapAccess<'de> for Inside<'_, '_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        match self.reader.next(&mut self.level)? {
            true => seed.deserialize(Name(self.reader.name()?)).map(Some),
            false => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(&mut *self.reader)
    }
}

/// A variant whose name is next.
struct Variant<'r, 't> {
    reader: &'r mut Reader<'t>,
    has_content: bool,
}

impl Variant<'_, '_> {
    fn expect_content(&self, expected: &dyn Expected) -> Result<(), Error> {
        match self.has_content {
            true => Ok(()),
            false => Err(Error::invalid_type(Unexpected::UnitVariant, expected)),
        }
    }
}

impl<'de> EnumAccess<'de> for Variant<'_, '_> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let name = if self.has_content { self.reader.name()? } else { self.reader.string()? };
        Ok((seed.deserialize(Name(name))?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, '_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        if self.has_content { self.reader.expect_null(&"unit") } else { Ok(()) }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        self.expect_content(&"newtype variant")?;
        seed.deserialize(self.reader)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.expect_content(&"tuple variant")?;
        self.reader.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        self.expect_content(&"struct variant")?;
        self.reader.deserialize_map(visitor)
    }
}

/// The name of a field or a variant. Where fields are named by numbers, numbers stand in it as text.
struct Name<'n>(&'n str);

impl Name<'_> {
    fn unexpected(&self, expected: &dyn Expected) -> Error {
        Error::invalid_type(Unexpected::Str(self.0), expected)
    }

    fn expect_number(&self, expected: &dyn Expected) -> Result<Number, Error> {
        let mut reader = Reader::new(self.0);
        match reader.number() {
            Ok(number) if reader.byte().is_none() => Ok(number),
            _ => Err(self.unexpected(expected)),
        }
    }
}

impl<'de> Deserializer<'de> for Name<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.0)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            _ => Err(self.unexpected(&visitor)),
        }
    }

    numbers!(deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_i8 deserialize_i16
        deserialize_i32 deserialize_i64 deserialize_f32 deserialize_f64);

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
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
        assert!(!is_read::<Part>("{\"a\":1,\"a\":2}"));
        assert_eq!(error::<Part>("[1,null]"), "invalid type: sequence, expected struct Part at line 1 column 1");
    }

    #[test]
    fn an_error_says_what_and_where() {
        for (text, expected) in [
            ("{\"a\":1,\n \"b\":[1,\"x\"]}", "invalid type: string \"x\", expected i16 at line 2 column 12"),
            ("{\"a\":null}", "invalid type: null, expected u8 at line 1 column 10"),
            ("{\"a\":1.5}", "invalid type: floating point `1.5`, expected u8 at line 1 column 9"),
            ("{\"a\":256}", "invalid value: integer `256`, expected u8 at line 1 column 9"),
            ("{}", "missing field `a` at line 1 column 3"),
            ("", "EOF while parsing a value at line 1 column 1"),
            ("{\"a\":1", "EOF while parsing an object at line 1 column 7"),
            ("{\"a\":1 \"b\":[]}", "expected `,` or `}` at line 1 column 8"),
            ("{\"a\":1}\n\nx", "trailing characters at line 3 column 1"),
        ] {
            assert_eq!(error::<Part>(text), expected, "{text}");
        }
        assert_eq!(
            error::<Ask>("\"Stop\""),
            "unknown variant `Stop`, expected one of `Pause`, `Rank`, `Sum`, `Block`, `Failed` at line 1 column 7"
        );
        assert!(
            error::<Ask>("{\"Pause\":null,\"Block\":[1,2]}").starts_with("trailing characters at line 1 column 14")
        );
        assert!(error::<Ask>("{\"Block\":[1,2,3]}").starts_with("trailing characters at line 1 column 14"));
        assert!(from_slice::<Value>(b"\"\xff\"").unwrap_err().to_string().contains("utf-8"));
    }

    #[test]
    fn a_fraction_is_read_to_the_last_bit() {
        for number in [1.154944e-38, 0.1 + 0.2, 1.0 / 3.0, std::f64::consts::PI * 1e-200, f64::MAX, f64::MIN_POSITIVE] {
            assert_eq!(from_str::<f64>(&serde_json::to_string(&number).unwrap()).unwrap().to_bits(), number.to_bits());
        }
    }

    #[test]
    fn the_same_texts_are_json_as_for_serde_json() {
        for text in [
            "0",
            "-0",
            "-",
            "00",
            "01",
            "-01",
            "1.",
            ".5",
            "1.5",
            "1e",
            "1e5",
            "1E+5",
            "1e-5",
            "1e+",
            "+1",
            "1e999",
            "1e-999",
            "18446744073709551615",
            "18446744073709551616",
            "-9223372036854775808",
            "-9223372036854775809",
            "1x",
            "0x1",
            "NaN",
            "nul",
            "null",
            "nulll",
            "true",
            "tru",
            "false",
            "fals",
            "\"",
            "\"\\",
            "\"\\u12\"",
            "\"\\ud800\"",
            "\"\\ud800\\u0041\"",
            "\"\\ud83e\\udd80\"",
            "\"\\udd80\"",
            "\"\\q\"",
            "\"\u{1}\"",
            "\"\u{7f}\"",
            "\"\\u00e4\\u8A9E\"",
            "[",
            "[]",
            "[ ]",
            "[,]",
            "[1,]",
            "[1 2]",
            "[1,2]",
            "]",
            "{",
            "{}",
            "{ }",
            "{,}",
            "{1:2}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\" : 1 , \"b\" : 2}",
            "{\"a\":1 \"b\":2}",
            "{\"\\u0061\":1}",
            " 1 ",
            "\u{b}1",
            "\u{feff}1",
            "1,",
            "",
        ] {
            is_read::<Value>(text);
            let both = (from_str::<IgnoredAny>(text).is_ok(), serde_json::from_str::<IgnoredAny>(text).is_ok());
            assert_eq!(both.0, both.1, "{text}, passed over");
            is_read::<f64>(text);
            is_read::<u64>(text);
            is_read::<i32>(text);
            is_read::<Option<String>>(text);
            is_read::<BTreeMap<String, Value>>(text);
            is_read::<(u8, u8)>(text);
            is_read::<Vec<u8>>(text);
        }
        for depth in [126, 127, 128, 10_000] {
            let (lists, objects) =
                ("[".repeat(depth) + &"]".repeat(depth), "{\"a\":".repeat(depth) + "1" + &"}".repeat(depth));
            assert_eq!(is_read::<Value>(&lists), depth <= 127);
            assert_eq!(is_read::<Value>(&objects), depth <= 127);
            assert!(from_str::<IgnoredAny>(&lists).is_ok() && from_str::<IgnoredAny>(&objects).is_ok());
        }
    }

    /// Whether two values differ at most in the last digits of their numbers, which serde_json reads less exactly.
    fn is_same(a: &Value, b: &Value) -> bool {
        match (a, b) {
            (Value::Number(a), Value::Number(b)) => {
                let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
                (a - b).abs() <= 1e-15 * a.abs()
            }
            (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b)),
            (Value::Object(a), Value::Object(b)) => {
                a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| is_same(a, b)))
            }
            (a, b) => a == b,
        }
    }

    #[test]
    fn broken_texts_are_refused_or_read_as_serde_json_does() {
        let whole = serde_json::to_string(&Ask::Rank(Box::new(everything()))).unwrap();
        let mut seed = 1u32;
        let mut random = |n: usize| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as usize % n
        };
        let mut n_read = 0;
        for _ in 0..20_000 {
            let mut text = whole.clone().into_bytes();
            for _ in 0..=random(2) {
                let at = random(text.len());
                let byte = b"\"\\{}[]:,0-1.eE tnu\n"[random(19)];
                match random(3) {
                    0 => text[at] = byte,
                    1 => text.insert(at, byte),
                    _ => drop(text.remove(at)),
                }
            }
            let Ok(text) = String::from_utf8(text) else { continue };
            match (from_str::<Value>(&text), serde_json::from_str(&text)) {
                (Ok(value), Ok(expected)) => assert!(is_same(&value, &expected), "{text}"),
                (got, expected) => assert_eq!(got.is_ok(), expected.is_ok(), "{text}"),
            }
            match (from_str::<Ask>(&text), serde_json::from_str::<Ask>(&text)) {
                (Ok(ask), Ok(expected)) => {
                    let [ask, expected] = [ask, expected].map(|ask| serde_json::to_value(ask).unwrap());
                    assert!(is_same(&ask, &expected), "{text}");
                    n_read += 1;
                }
                (got, expected) => assert_eq!(got.is_ok(), expected.is_ok(), "{text}"),
            }
        }
        assert!(n_read > 1_000, "{n_read}");
    }
}
