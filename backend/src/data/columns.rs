//! Parquet columns as JSON values: what makes a Parquet row look like a JSONL row to the rest of import.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{ArrowError, DataType};
use serde_json::{Map, Value};

/// The rows of a batch as JSON objects, in row order.
///
/// Text, numbers, booleans, lists, structs and maps become what they are in JSON (NaN and infinities become null, as in
/// JSON they cannot be said); dates, decimals, binary and the like become text.
///
/// # Errors
///
/// When a column has a type that cannot be shown at all.
pub fn rows(batch: &RecordBatch) -> Result<Vec<Map<String, Value>>, ArrowError> {
    let mut rows = vec![Map::new(); batch.num_rows()];
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let column = plain(column)?;
        for (i, row) in rows.iter_mut().enumerate() {
            row.insert(field.name().clone(), value(&column, i)?);
        }
    }
    Ok(rows)
}

/// Dictionary columns as columns of their values.
fn plain(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match column.data_type() {
        DataType::Dictionary(_, values) => arrow_cast::cast(column, values),
        _ => Ok(column.clone()),
    }
}

fn value(column: &ArrayRef, i: usize) -> Result<Value, ArrowError> {
    if column.is_null(i) {
        return Ok(Value::Null);
    }
    Ok(match column.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => Value::Bool(column.as_boolean().value(i)),
        DataType::Int8 => column.as_primitive::<Int8Type>().value(i).into(),
        DataType::Int16 => column.as_primitive::<Int16Type>().value(i).into(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(i).into(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(i).into(),
        DataType::UInt8 => column.as_primitive::<UInt8Type>().value(i).into(),
        DataType::UInt16 => column.as_primitive::<UInt16Type>().value(i).into(),
        DataType::UInt32 => column.as_primitive::<UInt32Type>().value(i).into(),
        DataType::UInt64 => column.as_primitive::<UInt64Type>().value(i).into(),
        DataType::Float16 => column.as_primitive::<Float16Type>().value(i).to_f64().into(),
        DataType::Float32 => shortest(column.as_primitive::<Float32Type>().value(i)),
        DataType::Float64 => column.as_primitive::<Float64Type>().value(i).into(),
        DataType::Utf8 => column.as_string::<i32>().value(i).into(),
        DataType::LargeUtf8 => column.as_string::<i64>().value(i).into(),
        DataType::Utf8View => column.as_string_view().value(i).into(),
        DataType::List(_) => list(&column.as_list::<i32>().value(i))?,
        DataType::LargeList(_) => list(&column.as_list::<i64>().value(i))?,
        DataType::FixedSizeList(..) => list(&column.as_fixed_size_list().value(i))?,
        DataType::Struct(fields) => {
            let columns = column.as_struct().columns();
            let mut object = Map::new();
            for (field, column) in fields.iter().zip(columns) {
                object.insert(field.name().clone(), value(&plain(column)?, i)?);
            }
            Value::Object(object)
        }
        DataType::Map(..) => {
            let entries = column.as_map().value(i);
            let (keys, values) = (plain(entries.column(0))?, plain(entries.column(1))?);
            let mut object = Map::new();
            for entry in 0..entries.len() {
                let key = match value(&keys, entry)? {
                    Value::String(key) => key,
                    key => key.to_string(),
                };
                object.insert(key, value(&values, entry)?);
            }
            Value::Object(object)
        }
        _ => {
            let options = FormatOptions::new();
            ArrayFormatter::try_new(column, &options)?.value(i).try_to_string()?.into()
        }
    })
}

fn list(items: &ArrayRef) -> Result<Value, ArrowError> {
    let items = plain(items)?;
    (0..items.len()).map(|i| value(&items, i)).collect::<Result<Vec<_>, _>>().map(Value::Array)
}

/// The shortest decimal that reads back as this f32: 0.1, not 0.10000000149011612.
fn shortest(x: f32) -> Value {
    x.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::builder::{ListBuilder, MapBuilder, StringBuilder, StringDictionaryBuilder};
    use arrow_array::types::Int32Type;
    use arrow_array::{
        BinaryArray, BooleanArray, Date32Array, Float32Array, Float64Array, Int64Array, LargeStringArray, StringArray,
        StructArray,
    };
    use arrow_schema::Field;
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_of_column_becomes_json() {
        let mut lists = ListBuilder::new(StringBuilder::new());
        lists.append_value([Some("a"), None]);
        lists.append_null();
        let mut dictionary = StringDictionaryBuilder::<Int32Type>::new();
        dictionary.append_value("x");
        dictionary.append_value("x");
        let mut maps = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
        maps.keys().append_value("k");
        maps.values().append_value("v");
        maps.append(true).unwrap();
        maps.append(true).unwrap();
        let inner: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
        let structs = StructArray::from(vec![(Arc::new(Field::new("n", DataType::Int64, true)), inner)]);
        let batch = RecordBatch::try_from_iter([
            ("text", Arc::new(StringArray::from(vec!["t", "u"])) as ArrayRef),
            ("large", Arc::new(LargeStringArray::from(vec![Some("l"), None]))),
            ("bool", Arc::new(BooleanArray::from(vec![true, false]))),
            ("f32", Arc::new(Float32Array::from(vec![0.1, f32::NAN]))),
            ("f64", Arc::new(Float64Array::from(vec![0.1, f64::INFINITY]))),
            ("date", Arc::new(Date32Array::from(vec![0, 1]))),
            ("binary", Arc::new(BinaryArray::from(vec![&b"\xff\x00"[..], b"a"]))),
            ("list", Arc::new(lists.finish())),
            ("dictionary", Arc::new(dictionary.finish())),
            ("map", Arc::new(maps.finish())),
            ("struct", Arc::new(structs)),
        ])
        .unwrap();
        let rows: Vec<Value> = rows(&batch).unwrap().into_iter().map(Value::Object).collect();
        assert_eq!(
            rows[0],
            json!({"text": "t", "large": "l", "bool": true, "f32": 0.1, "f64": 0.1, "date": "1970-01-01",
                "binary": "ff00", "list": ["a", null], "dictionary": "x", "map": {"k": "v"}, "struct": {"n": 1}})
        );
        assert_eq!(
            rows[1],
            json!({"text": "u", "large": null, "bool": false, "f32": null, "f64": null, "date": "1970-01-02",
                "binary": "61", "list": null, "dictionary": "x", "map": {}, "struct": {"n": null}})
        );
    }
}
