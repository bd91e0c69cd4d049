//! Ranking: `attribute` against the plain definition, its stored table, and what it refuses.

use std::fs;

use tempfile::tempdir;
use whence_backend::attribute::table::{self, Labels};
use whence_backend::attribute::{RankError, RankOptions, Ranking, Truth, rank};
use whence_backend::progress::silent;
use whence_backend::study::Study;
use whence_shared::rank::exact_cosine;
use whence_tests::binary::whence;
use whence_tests::made_study::{self, BEHAVIOR, LAYERS};

fn options(layers: &[usize]) -> RankOptions {
    RankOptions { behavior: BEHAVIOR.into(), layers: layers.to_vec(), verify: true }
}

fn ranked(study: &Study, layers: &[usize]) -> Result<Vec<Ranking>, RankError> {
    rank(study, &options(layers), &silent)
}

#[test]
fn a_ranking_is_the_cosines_in_order_with_ties_by_row() {
    let folder = tempdir().unwrap();
    let study = made_study::make(folder.path(), 300);
    let rankings = ranked(&study, &[]).unwrap();
    assert_eq!(rankings.iter().map(|ranking| ranking.layer).collect::<Vec<_>>(), LAYERS);
    for ranking in &rankings {
        let direction: Vec<f64> = made_study::direction(ranking.layer).into_iter().map(f64::from).collect();
        for (row, score) in ranking.scores.iter().enumerate() {
            let expected = exact_cosine(&direction, &made_study::vector(ranking.layer, row)) as f32;
            if ranking.layer == 1 {
                assert_eq!(score.to_bits(), expected.to_bits(), "f32 is exact: row {row}");
            } else {
                assert!((score - expected).abs() < 2e-3, "f16 is close: row {row}, {score} and {expected}");
            }
        }
        for rows in ranking.order.windows(2) {
            let (above, below) = (rows[0] as usize, rows[1] as usize);
            let (a, b) = (ranking.scores[above], ranking.scores[below]);
            assert!(a > b || (a == b && above < below), "rows {above} and {below}");
        }
    }
}

#[test]
fn a_ranking_by_what_length_leaves_moves_as_the_diagnosis_says_and_can_be_edited_by() {
    let folder = tempdir().unwrap();
    let study = made_study::make(folder.path(), 300);
    made_study::write_remarks(&study, &[(77, "chosen", true)]);
    let root = study.root().to_str().unwrap();
    let out = folder.path().join("without.parquet");
    let rank_on = |names: &str, out: &str| {
        whence([
            "rank",
            "--study",
            root,
            "--behavior",
            BEHAVIOR,
            "--layer",
            "2",
            "--residual-on",
            names,
            "--out",
            out,
            "--k",
            "50",
        ])
    };
    let out = out.to_str().unwrap();
    rank_on("lenght", out).fails_naming(&["lenght", "length, lists, code, headings, shared-words, source, all"]);
    rank_on("length", "without.csv").fails_naming(&["--out", ".parquet"]);
    whence(["rank", "--study", root, "--behavior", BEHAVIOR, "--residual-on", "length"]).fails_naming(&["--out"]);
    let by_score = ranked(&study, &[2]).unwrap().remove(0);
    for (names, of) in [("source", "source"), ("length,lists,code,headings,shared-words,source", "all of these")] {
        let said = rank_on(names, out).succeeds().stdout;
        whence(["diagnose", "--study", root, "--behavior", BEHAVIOR, "--layer", "2", "-k", "50"]).succeeds();
        let diagnosis = fs::read_to_string(study.diagnosis(BEHAVIOR, 2)).unwrap();
        let diagnosis: whence_shared::diagnosis::Diagnosis = serde_json::from_str(&diagnosis).unwrap();
        let confound = diagnosis.confounds.iter().find(|confound| confound.name == of);
        let expected = confound.map_or(1.0, |confound| confound.residual.overlap);
        // The pair without a vector is not moved, and the diagnosis does not know that it has none.
        let stay = format!("{:.1} % of the first 50 stay", 100.0 * expected);
        assert!(said.contains(&stay), "expected {stay:?} in: {said}");
        let rows = table::read(std::path::Path::new(out)).unwrap();
        assert_eq!(rows.len(), 300);
        assert!(rows.windows(2).all(|rows| rows[0].score >= rows[1].score), "by what is left");
        let sum: f64 = rows.iter().map(|row| f64::from(row.score)).sum();
        assert!(sum.abs() < 0.05 * 300.0, "what is left has a mean near 0: {sum}");
        assert!(rows.iter().any(|row| row.row == 77 && (by_score.scores[77] != 0.0 || row.score == 0.0)));
    }
    whence(["edit", "--study", root, "--name", "without", "--ranking", out, "--top", "20"]).succeeds();
    assert_eq!(
        table::read(&study.ranking(BEHAVIOR, 2)).map_err(|_| ()),
        Err(()),
        "the study's own ranking is not made by it"
    );
}

#[test]
fn pairs_without_a_vector_are_counted_beside_the_ranking() {
    let folder = tempdir().unwrap();
    let study = made_study::make(folder.path(), 150);
    let said = |study: &Study| {
        let args = ["rank", "--study", study.root().to_str().unwrap(), "--behavior", BEHAVIOR];
        whence(args).succeeds().stdout
    };
    assert!(!said(&study).contains("have no vector"));
    // Both responses of a pair are one pair; a response that was cut has a vector.
    made_study::write_remarks(&study, &[(77, "chosen", true), (77, "rejected", true), (88, "chosen", true)]);
    assert!(said(&study).contains("2 of 150 pairs have no vector and score 0"), "{}", said(&study));
    made_study::write_remarks(&study, &[(77, "chosen", false)]);
    assert!(!said(&study).contains("have no vector"));
}

#[test]
fn a_stored_ranking_is_read_back_and_the_same_twice() {
    let folder = tempdir().unwrap();
    let study = made_study::make(folder.path(), 150);
    let labels = Labels::read(&study).unwrap();
    let ranking = ranked(&study, &[2]).unwrap().remove(0);
    let path = table::store(&study, &ranking, &labels).unwrap();
    let bytes = fs::read(&path).unwrap();
    let rows = table::read(&path).unwrap();
    assert_eq!(rows, table::top(&ranking, &labels, usize::MAX));
    assert_eq!((rows.len(), rows[0].rank, rows[149].rank), (150, 1, 150));
    let row = &rows[17];
    assert_eq!(row.score.to_bits(), ranking.scores[row.row as usize].to_bits());
    assert_eq!(row.id, format!("p{}", row.row));
    assert_eq!(row.snippet, format!("question {} é", row.row));
    table::store(&study, &ranked(&study, &[2]).unwrap().remove(0), &labels).unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes);
    fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
    assert!(matches!(table::read(&path), Err(RankError::Malformed { .. })));
}

#[test]
fn quality_counts_culprits_where_the_ranking_put_them() {
    let folder = tempdir().unwrap();
    let study = made_study::make(folder.path(), 100);
    let ranking = ranked(&study, &[1]).unwrap().remove(0);
    let labels = Labels::read(&study).unwrap();
    let path = folder.path().join("truth.jsonl");
    let top: Vec<u32> = ranking.order[..10].to_vec();
    let lines: Vec<String> = (0..100)
        .map(|row| format!("{{\"id\":\"p{row}\",\"culprit\":{},\"kind\":\"k{}\"}}", top.contains(&row), row % 2))
        .collect();
    fs::write(&path, lines.join("\n")).unwrap();
    let truth = Truth::read(&path, &labels.ids).unwrap();
    let quality = truth.quality(&ranking, None);
    assert_eq!((quality.k, quality.precision_at_k, quality.recall_at_k, quality.auroc), (10, 1.0, 1.0, 1.0));
    assert_eq!(truth.quality(&ranking, Some(20)).precision_at_k, 0.5);
    let in_top: usize = truth.kinds(&ranking, 10).values().map(|(in_top, _)| in_top).sum();
    assert_eq!(in_top, 10);
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let folder = tempdir().unwrap();
    let study = made_study::make(folder.path(), 200);
    let refused = |layers: &[usize], expected: &[&str]| {
        let error = ranked(&study, layers).unwrap_err().to_string();
        for part in expected {
            assert!(error.contains(part), "expected {part:?} in {error}");
        }
    };
    let unknown = RankOptions { behavior: "none".into(), ..options(&[]) };
    let error = rank(&study, &unknown, &silent).unwrap_err().to_string();
    assert!(error.contains("expected one of obeys"), "{error}");
    refused(&[7], &["layer 7", "complete: 1, 2", "whence extract"]);

    let shard = study.layer(1).join("00000070.safetensors");
    let bytes = fs::read(&shard).unwrap();
    let name = "00000070.safetensors";
    fs::write(&shard, &bytes[..bytes.len() - 1]).unwrap();
    refused(&[1], &[name, "size in bytes", "whence extract"]);
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(&shard, &flipped).unwrap();
    refused(&[1], &[name, "SHA-256"]);
    assert!(rank(&study, &RankOptions { verify: false, ..options(&[1]) }, &silent).is_ok(), "only --verify hashes");
    fs::copy(study.layer(1).join("00000000.safetensors"), &shard).unwrap();
    refused(&[1], &[name]);
    assert!(rank(&study, &RankOptions { verify: false, ..options(&[1]) }, &silent).is_err(), "the header says its row");
    fs::remove_file(&shard).unwrap();
    refused(&[1], &[name]);
    fs::write(&shard, &bytes).unwrap();
    assert!(ranked(&study, &[1]).is_ok());

    let inputs = ranked(&study, &[1]).unwrap()[0].inputs.clone();
    made_study::write_behavior(&study, "another model");
    refused(&[1], &["another model", "whence behavior"]);
    made_study::write_behavior(&study, &inputs);
    fs::remove_file(study.behavior_vectors(BEHAVIOR, 2)).unwrap();
    refused(&[2], &["no vectors at layer 2", "whence behavior"]);
    assert_eq!(ranked(&study, &[]).unwrap().len(), 1, "all layers means those the behavior has");

    let other = tempdir().unwrap();
    let smaller = made_study::make(other.path(), 199);
    fs::copy(smaller.pairs(), study.pairs()).unwrap();
    refused(&[1], &["other pairs", "--replace"]);
    fs::remove_dir_all(study.vectors()).unwrap();
    refused(&[], &["no vectors yet", "whence extract"]);
}
