//! What is odd about the data: what import refused or found twice, how lengths differ between the two sides, and how much
//! comes from how few.

use leptos::prelude::*;
use whence_shared::edit::effect::{Lengths, lengths};
use whence_shared::statistics::wilson;
use whence_shared::study::{SourceView, StudyView};

use crate::app::table::source_name;
use crate::diagnosis::Diagnosed;
use crate::listing::{ColumnsStatus, Listing};
use crate::number::{count, counted, percent};

/// Sources shown.
const N_SHOWN: usize = 6;
/// The longer side is worth a warning from this share of the pairs that differ in length on.
const LENGTH_BIAS: f64 = 0.6;

/// The section.
pub fn health(study: &StudyView) -> impl IntoView + use<> {
    let listing = Listing::here();
    listing.want_columns();
    let diagnosed = Diagnosed::here();
    let health = study.health;
    let n_rows = health.n_rows_read.max(1);
    let line = move |name: &'static str, n: usize, of: usize| {
        view! {
            <dt>{name}</dt>
            <dd class:warn=n != 0>
                {count(n)}
                <span class="quiet">{(n != 0).then(|| percent(n as f64 / of.max(1) as f64))}</span>
            </dd>
        }
    };
    let length = move || match listing.columns.get() {
        ColumnsStatus::Ready(columns) => length_bias(&lengths(&columns, None)).into_any(),
        ColumnsStatus::Failed(reason) => view! { <dd class="quiet">{reason}</dd> }.into_any(),
        _ => view! { <dd class="quiet">"reading lengths…"</dd> }.into_any(),
    };
    let push = move || {
        let diagnosis = diagnosed.get()?.ok()?;
        Some(format!(
            "the first {} hold {} of the push toward “{}” beyond chance, in effect {:.0} pairs",
            count(diagnosis.of.k),
            percent(diagnosis.excess.top_share),
            diagnosis.of.behavior,
            diagnosis.excess.n_effective
        ))
    };
    view! {
        <section class="health" aria-labelledby="health-title">
            <h2 id="health-title">"Health of the data"</h2>
            <dl class="facts-list">
                {line("Refused rows", health.n_rejected_rows, n_rows)}
                {line("Duplicates", health.n_duplicates, study.n_pairs)}
                {line("Identical sides", health.n_identical, study.n_pairs)}
                {line("Empty responses", health.n_empty_responses, study.n_pairs)} <dt>"Length bias"</dt> {length}
                <dt>"Concentration"</dt>
                <dd>
                    {concentration(&study.sources, study.n_pairs)}
                    {move || push().map(|text| view! { <span class="quiet block">{text}</span> })}
                </dd>
            </dl>
            {sources(&study.sources, study.n_pairs)}
        </section>
    }
}

/// Which side is the longer one, with the interval of its share.
fn length_bias(lengths: &Lengths) -> impl IntoView + use<> {
    let n_differ = lengths.n_chosen_longer + lengths.n_rejected_longer;
    let share = wilson::share(lengths.n_chosen_longer as u64, n_differ as u64, 0.95);
    let (text, is_biased) = match share {
        None => ("both sides of every pair are equally long".to_owned(), false),
        Some(share) => {
            let text = format!(
                "chosen is longer in {} of pairs ({} to {})",
                percent(share.value),
                percent(share.low),
                percent(share.high)
            );
            (text, share.low > LENGTH_BIAS || share.high < 1.0 - LENGTH_BIAS)
        }
    };
    let means = format!("mean {:.0} against {:.0} characters", lengths.chosen_mean, lengths.rejected_mean);
    view! {
        <dd class:warn=is_biased id="length-bias">
            {text}
            <span class="quiet block">{means}</span>
        </dd>
    }
}

fn concentration(sources: &[SourceView], n_pairs: usize) -> String {
    let largest = sources.iter().max_by_key(|source| source.n_pairs);
    match largest {
        Some(largest) => format!(
            "{} of pairs come from {}, of {}",
            percent(largest.n_pairs as f64 / n_pairs.max(1) as f64),
            source_name(&largest.name),
            counted(sources.len(), "source", "sources")
        ),
        None => "no pair".to_owned(),
    }
}

fn sources(sources: &[SourceView], n_pairs: usize) -> impl IntoView + use<> {
    let mut sorted = sources.to_vec();
    sorted.sort_by(|a, b| b.n_pairs.cmp(&a.n_pairs).then(a.name.cmp(&b.name)));
    let most = sorted.first().map_or(1, |source| source.n_pairs).max(1);
    let n_more = sorted.len().saturating_sub(N_SHOWN);
    let line = |source: &SourceView| {
        let width = format!("{:.2}%", 100.0 * source.n_pairs as f64 / most as f64);
        let share = percent(source.n_pairs as f64 / n_pairs.max(1) as f64);
        view! {
            <tr>
                <th scope="row">{source_name(&source.name)}</th>
                <td class="bar-cell" aria-hidden="true">
                    <span style:width=width></span>
                </td>
                <td class="end">{count(source.n_pairs)}</td>
                <td class="end quiet">{share}</td>
            </tr>
        }
    };
    let lines: Vec<_> = sorted.iter().take(N_SHOWN).map(line).collect();
    view! {
        <table class="figures source-bars">
            <caption class="unseen">"Pairs by source"</caption>
            <tbody>{lines}</tbody>
        </table>
        {(n_more > 0).then(|| view! { <p class="quiet">{format!("and {} more", count(n_more))}</p> })}
    }
}
