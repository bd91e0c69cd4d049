//! The verdict: what was found in a line, then the report's own paragraph, word for word; or in brief, a sentence for each edit.

use leptos::prelude::*;
use whence_shared::diagnosis::path;
use whence_shared::statistics::conclusion::{ArmFinding, Conclusion, Finding, percent, percent_level, points};
use whence_shared::statistics::effect::ArmEffects;
use whence_shared::validation::{QuotedDiagnosis, ValidationReport};

use super::arm_title;
use crate::app::diagnosis::headline;
use crate::number::counted;
use crate::validation::Validation;

/// The section.
pub fn verdict(report: &ValidationReport) -> impl IntoView + use<> {
    let validation = Validation::here();
    let Conclusion { arms, text } = &report.comparison.conclusion;
    let n_runs = report.runs.len();
    let headlines = headline_lines(arms);
    let expected = report.diagnosis.as_ref().map(|QuotedDiagnosis { of, verdict }| {
        let path = path(&of.behavior, of.layer);
        view! {
            <p class="expected" id="expected" title=path>
                <span class="what">"The ranking's diagnosis: "</span>
                {headline(of, verdict)}
            </p>
        }
    });
    let (lead, told, closing) = parts(text, arms);
    let told: Vec<_> = told.into_iter().map(|text| view! { <p>{text}</p> }).collect();
    let preliminary = preliminary(validation, n_runs);
    view! {
        <section class="verdict" id="verdict" aria-labelledby="verdict-title">
            <h2 id="verdict-title">"Verdict"</h2>
            {headlines}
            {expected}
            {preliminary}
            <div class="conclusion" id="conclusion">
                <p class="lead">{lead}</p>
                <div class="told">{told}</div>
                <p class="closing">{closing}</p>
            </div>
        </section>
    }
}

/// The verdict in brief: what was found in a line, what the baseline does, and a sentence for each edit with its effect.
pub fn brief(report: &ValidationReport) -> impl IntoView + use<> {
    let Conclusion { arms, text } = &report.comparison.conclusion;
    let headlines = headline_lines(arms);
    let baseline = text.split_once(". ").map_or_else(|| text.clone(), |(first, _)| format!("{first}."));
    let edits = report.comparison.effects.iter().filter(|effects| !effects.is_control);
    let edits: Vec<_> = edits.map(|effects| view! { <li>{sentence(effects)}</li> }).collect();
    let preliminary = preliminary(Validation::here(), report.runs.len());
    view! {
        <div class="verdict" id="in-brief">
            {headlines}
            {preliminary}
            <p class="lead">{baseline}</p>
            <ul class="edits">{edits}</ul>
        </div>
    }
}

/// What an edit did: `drop 100: 1.9 % instead of 62.9 %, −61.0 points (95 % interval −75.8 to −44.1).`
fn sentence(effects: &ArmEffects) -> String {
    let effect = &effects.versus_baseline;
    let interval = effect.difference.interval;
    let doubt = if effect.is_established() { "" } else { ", which is not shown to be an effect" };
    format!(
        "{}: {} instead of {}, {} points ({} interval {} to {}){doubt}.",
        arm_title(&effects.arm, effects.k),
        percent(effect.rate),
        percent(effect.reference_rate),
        points(effect.difference.value),
        percent_level(interval.level),
        points(interval.low),
        points(interval.high),
    )
}

/// That a report was made while others still train: it says what is known by then.
fn preliminary(validation: Validation, n_runs: usize) -> impl IntoView {
    move || {
        let is_under_way = validation.runs.with(|runs| runs.as_ref().is_some_and(|runs| !runs.is_complete()));
        is_under_way.then(|| {
            let text = format!("Preliminary: of {} so far.", counted(n_runs, "model", "models"));
            view! { <p class="quiet">{text}</p> }
        })
    }
}

/// A line for every finding.
fn headline_lines(arms: &[ArmFinding]) -> Vec<AnyView> {
    let line = |(finding, names): (Finding, String)| {
        let is_found = finding == Finding::BeyondRandom;
        view! {
            <p class="finding" class:found=is_found>
                <span class="what">{finding.heading()}</span>
                <span class="which">{names}</span>
            </p>
        }
        .into_any()
    };
    headlines(arms).into_iter().map(line).collect()
}

/// Every finding there is, with the edits it was made of.
fn headlines(arms: &[ArmFinding]) -> Vec<(Finding, String)> {
    let mut findings: Vec<Finding> = arms.iter().map(|arm| arm.finding).collect();
    findings.sort_unstable();
    findings.dedup();
    let names = |finding: Finding| {
        let of_finding = arms.iter().filter(|arm| arm.finding == finding);
        of_finding
            .map(|arm| format!("{} ({})", arm.arm, counted(arm.k as usize, "pair", "pairs")))
            .collect::<Vec<_>>()
            .join(", ")
    };
    findings.into_iter().map(|finding| (finding, names(finding))).collect()
}

/// The paragraph cut where it begins to speak of another edit: what comes before the first, of each, after the last.
/// Put together again it is the paragraph.
fn parts<'a>(text: &'a str, arms: &[ArmFinding]) -> (String, Vec<String>, String) {
    let mut told = Vec::new();
    let mut lead: Option<&'a str> = None;
    let mut rest = text;
    for arm in arms {
        let Some(at) = rest.find(&arm.text).filter(|_| !arm.text.is_empty()) else { continue };
        lead.get_or_insert(&rest[..at]);
        told.push(arm.text.clone());
        rest = &rest[at + arm.text.len()..];
    }
    match lead {
        Some(lead) => (lead.to_owned(), told, rest.to_owned()),
        None => (text.to_owned(), told, String::new()),
    }
}
