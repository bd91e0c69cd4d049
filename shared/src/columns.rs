//! What filters need of every pair, as one compact file: `columns.safetensors` beside study.json. Made of the pairs by
//! whoever serves a study; the app reads it whole.
//!
//! ```text
//! tensor          dtype  shape               meaning
//! source          U32    [n_rows]            index into the study's list of sources
//! chosen_chars    U32    [n_rows]            length of the chosen response in characters
//! rejected_chars  U32    [n_rows]            length of the rejected response in characters
//! fields          U16    [n_fields, n_rows]  which of its field's values each pair has; 65535 = none. Absent without fields
//!
//! metadata key    value
//! format          "whence.columns/1"
//! pairs_sha256    SHA-256 of pairs.parquet
//! fields          JSON: the fields' names and values, [{"name": …, "values": […]}]
//! ```
//!
//! A field is a key of the pairs' metadata with few different values: a model's name, a language, a list of tags. Keys
//! with more than [`MAX_VALUES`] values tell single pairs apart rather than groups, and are left out.

use std::collections::{BTreeMap, HashMap};

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::json;
use crate::pair::{Pair, Side};
use crate::tensors::{self, TensorFile, TensorsError};

/// The value of the metadata key `format`.
pub const FORMAT: &str = "whence.columns/1";
/// Its address, relative to study.json.
pub const PATH: &str = "columns.safetensors";
/// Most values of a field.
pub const MAX_VALUES: usize = 1000;
/// Most fields; those first in the alphabet stay.
pub const MAX_FIELDS: usize = 24;
/// The code of a pair without the field.
pub const ABSENT: u16 = u16::MAX;
/// Longest value of a field in characters; longer ones are texts, not values.
const MAX_VALUE_CHARS: usize = 200;

/// Columns of equal length, one entry per pair.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RowColumns {
    /// SHA-256 of pairs.parquet.
    pub pairs_sha256: String,
    /// Index into the study's list of sources.
    pub source: Vec<u32>,
    /// Length of the chosen response in characters.
    pub chosen_chars: Vec<u32>,
    /// Length of the rejected response in characters.
    pub rejected_chars: Vec<u32>,
    /// Metadata with few values, by name.
    pub fields: Vec<FieldColumn>,
}

/// One key of the pairs' metadata.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldColumn {
    /// The key.
    pub name: String,
    /// Its values as text, sorted.
    pub values: Vec<String>,
    /// By row: index into the values, or [`ABSENT`].
    pub codes: Vec<u16>,
}

#[derive(Serialize, Deserialize)]
struct FieldHeader {
    name: String,
    values: Vec<String>,
}

impl RowColumns {
    /// How many pairs.
    pub fn n_rows(&self) -> usize {
        self.source.len()
    }

    /// A field by name.
    pub fn field(&self, name: &str) -> Option<&FieldColumn> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The bytes of its file. The same columns give the same bytes.
    ///
    /// # Panics
    ///
    /// Panics when the columns are of different lengths.
    pub fn to_bytes(&self) -> Vec<u8> {
        let n_rows = self.n_rows();
        let wide = [&self.source, &self.chosen_chars, &self.rejected_chars].map(|column| u32_bytes(column));
        let codes: Vec<u8> =
            self.fields.iter().flat_map(|f| f.codes.iter().flat_map(|code| code.to_le_bytes())).collect();
        let mut list = Vec::new();
        for (name, bytes) in ["source", "chosen_chars", "rejected_chars"].into_iter().zip(&wide) {
            list.push((name, TensorView::new(Dtype::U32, vec![n_rows], bytes).expect("columns of equal length")));
        }
        if !self.fields.is_empty() {
            let shape = vec![self.fields.len(), n_rows];
            list.push(("fields", TensorView::new(Dtype::U16, shape, &codes).expect("columns of equal length")));
        }
        let headers: Vec<FieldHeader> =
            self.fields.iter().map(|f| FieldHeader { name: f.name.clone(), values: f.values.clone() }).collect();
        let metadata = [
            ("format", FORMAT.to_owned()),
            ("pairs_sha256", self.pairs_sha256.clone()),
            ("fields", serde_json::to_string(&headers).expect("plain data serializes")),
        ];
        let metadata: HashMap<String, String> = metadata.map(|(key, value)| (key.to_owned(), value)).into();
        tensors::write(list, metadata).expect("tensors of known shape")
    }

    /// Reads the columns of `n_rows` pairs from the whole bytes of their file.
    ///
    /// # Errors
    ///
    /// When it is no such file, or of another number of pairs.
    pub fn parse(file: &[u8], n_rows: usize) -> Result<Self, TensorsError> {
        let file = TensorFile::parse(file, FORMAT)?;
        let wide = |name| file.data(name, Dtype::U32, &[n_rows]).map(u32s);
        let text = file.text("fields")?;
        let headers: Vec<FieldHeader> = json::from_str(&text)
            .map_err(|_| TensorsError::Metadata { key: "fields", value: text.chars().take(80).collect() })?;
        let mut fields = Vec::with_capacity(headers.len());
        if !headers.is_empty() {
            let codes = file.data("fields", Dtype::U16, &[headers.len(), n_rows])?;
            let codes: Vec<u16> = codes.as_chunks::<2>().0.iter().map(|b| u16::from_le_bytes(*b)).collect();
            // Without rows there is nothing to cut.
            let mut rest = codes.as_slice();
            for FieldHeader { name, values } in headers {
                let (codes, later) = rest.split_at(n_rows);
                rest = later;
                if let Some(code) = codes.iter().find(|code| **code != ABSENT && usize::from(**code) >= values.len()) {
                    let expected = format!("values below {} of field {name:?}", values.len());
                    return Err(TensorsError::Tensor { name: "fields", expected, got: code.to_string() });
                }
                fields.push(FieldColumn { name, values, codes: codes.to_vec() });
            }
        }
        Ok(Self {
            pairs_sha256: file.text("pairs_sha256")?,
            source: wide("source")?,
            chosen_chars: wide("chosen_chars")?,
            rejected_chars: wide("rejected_chars")?,
            fields,
        })
    }
}

fn u32_bytes(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn u32s(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect()
}

/// Makes columns of pairs, one after the other.
#[derive(Debug, Default)]
pub struct Builder {
    columns: RowColumns,
    fields: BTreeMap<String, Growing>,
}

/// A field while its values are being found; `None` once there are too many.
#[derive(Debug, Default)]
struct Growing(Option<(HashMap<String, u16>, Vec<u16>)>);

impl Builder {
    /// Appends a pair whose source has this number.
    pub fn push(&mut self, pair: &Pair, source: u32) {
        let row = self.columns.n_rows();
        let n_chars = |side| u32::try_from(pair.response(side).chars().count()).unwrap_or(u32::MAX);
        self.columns.source.push(source);
        self.columns.chosen_chars.push(n_chars(Side::Chosen));
        self.columns.rejected_chars.push(n_chars(Side::Rejected));
        let Ok(Value::Object(entries)) = serde_json::from_str(&pair.metadata) else { return };
        for (name, value) in entries {
            let growing = self.fields.entry(name).or_insert_with(|| Growing(Some(Default::default())));
            let text = match value {
                Value::Null => continue,
                value => shown(&value),
            };
            let Some((values, codes)) = &mut growing.0 else { continue };
            let n_values = values.len();
            let code = text.and_then(|text| match values.get(&text) {
                Some(code) => Some(*code),
                None if n_values < MAX_VALUES => {
                    values.insert(text, n_values as u16);
                    Some(n_values as u16)
                }
                None => None,
            });
            match code {
                Some(code) => {
                    codes.resize(row, ABSENT);
                    codes.push(code);
                }
                None => growing.0 = None,
            }
        }
    }

    /// The columns of all pairs appended. Fields that all pairs have the same value of are left out: there is nothing to
    /// choose.
    pub fn finish(self, pairs_sha256: String) -> RowColumns {
        let Self { mut columns, fields } = self;
        let n_rows = columns.n_rows();
        columns.pairs_sha256 = pairs_sha256;
        columns.fields = fields
            .into_iter()
            .filter_map(|(name, growing)| Some((name, growing.0?)))
            .filter(|(_, (values, codes))| {
                let is_everywhere = codes.len() == n_rows && !codes.contains(&ABSENT);
                // As many values as pairs are names of pairs.
                values.len() > usize::from(is_everywhere) && (values.len() < n_rows || n_rows <= 2)
            })
            .take(MAX_FIELDS)
            .map(|(name, (values, codes))| sorted(name, values, codes, n_rows))
            .collect();
        columns
    }
}

fn sorted(name: String, values: HashMap<String, u16>, codes: Vec<u16>, n_rows: usize) -> FieldColumn {
    let mut values: Vec<(String, u16)> = values.into_iter().collect();
    values.sort_unstable();
    let mut new_code = vec![ABSENT; values.len()];
    for (i, (_, code)) in values.iter().enumerate() {
        new_code[usize::from(*code)] = i as u16;
    }
    let mut codes: Vec<u16> =
        codes.into_iter().map(|code| new_code.get(usize::from(code)).copied().unwrap_or(ABSENT)).collect();
    codes.resize(n_rows, ABSENT);
    FieldColumn { name, values: values.into_iter().map(|(value, _)| value).collect(), codes }
}

/// A value as text; lists of such values joined by commas. `None` for what is no value: objects and long texts.
fn shown(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) => items.iter().map(shown).collect::<Option<Vec<_>>>()?.join(", "),
        Value::Null | Value::Object(_) => return None,
    };
    (text.chars().count() <= MAX_VALUE_CHARS).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::Message;

    fn pair(chosen: &str, metadata: &str) -> Pair {
        Pair {
            id: String::new(),
            prompt: vec![],
            chosen: vec![Message::new("assistant", chosen)],
            rejected: vec![Message::new("assistant", "né")],
            source: String::new(),
            metadata: metadata.into(),
        }
    }

    fn columns() -> RowColumns {
        let mut builder = Builder::default();
        for (i, metadata) in [
            r#"{"model":"b","row":0,"same":1,"tags":["x","y"],"deep":{"a":1}}"#,
            r#"{"model":"a","row":1,"same":1,"tags":[]}"#,
            r#"{"row":2,"same":1,"ok":true}"#,
            r#"{"model":"b","row":3,"same":1}"#,
            "not JSON",
        ]
        .into_iter()
        .enumerate()
        {
            builder.push(&pair(&"x".repeat(i), metadata), i as u32 % 2);
        }
        builder.finish("abc".into())
    }

    #[test]
    fn fields_are_keys_with_few_values() {
        let columns = columns();
        assert_eq!(columns.chosen_chars, [0, 1, 2, 3, 4]);
        assert_eq!(columns.rejected_chars, [2; 5], "characters, not bytes");
        let names: Vec<&str> = columns.fields.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(names, ["model", "ok", "row", "same", "tags"]);
        let model = columns.field("model").unwrap();
        assert_eq!(model.values, ["a", "b"]);
        assert_eq!(model.codes, [1, 0, ABSENT, 1, ABSENT]);
        assert_eq!(columns.field("tags").unwrap().values, ["", "x, y"]);
        let mut builder = Builder::default();
        for i in 0..MAX_VALUES + 10 {
            builder.push(&pair("", &format!(r#"{{"name":"{i}","half":{}}}"#, i / 2)), 0);
        }
        let columns = builder.finish(String::new());
        assert!(columns.field("name").is_none() && columns.field("half").is_some());
    }

    #[test]
    fn columns_come_back_from_their_file() {
        for columns in [columns(), RowColumns { fields: vec![], ..columns() }, Builder::default().finish(String::new())]
        {
            let file = columns.to_bytes();
            assert_eq!(RowColumns::parse(&file, columns.n_rows()).unwrap(), columns);
            assert_eq!(file, columns.to_bytes());
        }
    }

    #[test]
    fn what_are_no_columns_is_refused() {
        let file = columns().to_bytes();
        let error = RowColumns::parse(&file, 4).unwrap_err().to_string();
        assert!(error.contains("expected U16 [5, 4], got U16 [5, 5]"), "{error}");
        assert!(RowColumns::parse(&file[..file.len() - 2], 5).is_err());
        let mut wrong = columns();
        wrong.fields[0].codes[0] = 2;
        let error = RowColumns::parse(&wrong.to_bytes(), 5).unwrap_err().to_string();
        assert!(error.contains("values below 2 of field \"model\", got 2"), "{error}");
    }
}
