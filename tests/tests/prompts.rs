//! Test prompts made of parts, through the binary: the same file gives the same rollouts as JSONL, CSV and Parquet.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use serde_json::Value;
use whence_tests::binary::whence;
use whence_tests::fixture;

fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn prompts_of_parts_are_rolled_out_alike_from_every_kind_of_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let text = |name: &str| path(name).to_str().unwrap().to_owned();
    fs::write(
        path("templates.jsonl"),
        "{\"id\":\"bare\",\"template\":\"{request}\"}\n{\"id\":\"asked\",\"template\":\"{request} {distractor}\"}\n",
    )
    .unwrap();
    fs::write(path("requests.csv"), "id,request\nriver,\"a river, quiet\"\nclock,the clock\n").unwrap();
    fs::write(path("distractors.txt"), "as a list\nin bread\n").unwrap();
    let combine = |out: &str, more: &[&str]| {
        let (templates, requests, distractors) =
            (text("templates.jsonl"), text("requests.csv"), text("distractors.txt"));
        let lists = ["prompts", "--templates", &templates, "--requests", &requests, "--distractors", &distractors];
        whence([&lists[..], &["--out", out, "--seed", "1"], more].concat())
    };
    let said = combine(&text("p.jsonl"), &[]).succeeds().stdout;
    assert!(said.contains("2 templates, 2 requests, 2 distractors: 6 combinations, 6 prompts"), "{said}");
    let prompts = lines(&path("p.jsonl"));
    let ids: Vec<&str> = prompts.iter().map(|prompt| prompt["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["river/bare", "river/asked/1", "river/asked/2", "clock/bare", "clock/asked/1", "clock/asked/2"]);
    combine(&text("few.jsonl"), &["-n", "2"]).succeeds();
    let few = lines(&path("few.jsonl"));
    assert!(few.iter().all(|prompt| prompts.contains(prompt)), "of all prompts, with the same ids: {few:?}");
    assert_ne!(few[0]["request"], few[1]["request"], "each request once before any comes twice");
    combine(&text("few.jsonl"), &["-n", "3"]).fails_naming(&["few.jsonl", "--replace"]);
    for (list, option) in
        [("templates.jsonl", "--templates"), ("requests.csv", "--requests"), ("distractors.txt", "--distractors")]
    {
        let before = fs::read(path(list)).unwrap();
        combine(&text(list), &["--replace"]).fails_naming(&[list, &format!("--out is {option}"), "another --out"]);
        assert_eq!(fs::read(path(list)).unwrap(), before);
    }
    combine(&text("many.jsonl"), &["-n", "7"]).fails_naming(&["there are 6 combinations"]);
    fs::write(path("distractors.txt"), "as a list\nas a list\n").unwrap();
    combine(&text("twice.jsonl"), &[]).fails_naming(&["distractors.txt line 2", "also that of line 1"]);

    // The same prompts as CSV and Parquet.
    let column = |name: &str| -> Vec<Option<String>> {
        prompts.iter().map(|prompt| prompt[name].as_str().map(str::to_owned)).collect()
    };
    let names = ["id", "prompt", "scenario"];
    let rows = (0..prompts.len()).map(|i| {
        let fields = names.map(|name| format!("\"{}\"", prompts[i][name].as_str().unwrap()));
        fields.join(",")
    });
    fs::write(path("p.csv"), format!("{}\n{}\n", names.join(","), rows.collect::<Vec<_>>().join("\n"))).unwrap();
    let columns = names.map(|name| (name, Arc::new(StringArray::from(column(name))) as ArrayRef));
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(File::create(path("p.parquet")).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let model = fixture::model("chat");
    let rolled_out = ["p.jsonl", "p.csv", "p.parquet"].map(|name| {
        let (prompts, out) = (text(name), text(&format!("{name}.out")));
        let sampling = ["-n", "2", "--max-new-tokens", "6", "--device", "cpu", "--model", model.to_str().unwrap()];
        whence([&["rollouts", "--prompts", &prompts, "--out", &out][..], &sampling].concat()).succeeds();
        let of = |line: &Value| ["prompt_id", "prompt", "scenario", "response"].map(|key| line[key].clone());
        lines(Path::new(&out)).iter().map(of).collect::<Vec<_>>()
    });
    assert_eq!(rolled_out[0].len(), 12);
    assert_eq!(rolled_out[1], rolled_out[0]);
    assert_eq!(rolled_out[2], rolled_out[0]);
    assert_eq!(rolled_out[0][0][2], "river");
}
