//! What this study is: data, model, layers, behaviors, and the hashes that everything else refers to.

use leptos::prelude::*;
use whence_shared::study::{BehaviorView, LayerView, StudyView};

use crate::app::copy::Copy;
use crate::number::{bytes, count, counted};

/// The section.
pub fn about(study: &StudyView) -> impl IntoView + use<> {
    let model = study.model.as_ref().map(|model| {
        let sizes = format!("{}, {} layers of width {}", model.architecture, model.n_layers, count(model.d_model));
        view! {
            <dt>"Model"</dt>
            <dd>{model.name.clone()} <span class="quiet">{sizes}</span></dd>
            <dt>"Text form"</dt>
            <dd>{format!("{} template, {} pooling", model.template, model.pooling)}</dd>
            <dt>"Model hash"</dt>
            <dd>{hash(&model.sha256)}</dd>
        }
    });
    let pairs_hash = (!study.pairs_sha256.is_empty()).then(|| {
        view! {
            <dt>"Pairs hash"</dt>
            <dd>{hash(&study.pairs_sha256)}</dd>
        }
    });
    let layers: Vec<_> = study.layers.iter().map(layer).collect();
    let behaviors: Vec<_> = study.behaviors.iter().map(behavior).collect();
    view! {
        <section class="about-study" aria-labelledby="about-title">
            <h2 id="about-title">"This study"</h2>
            <dl class="facts-list">
                <dt>"Pairs"</dt>
                <dd>
                    {count(study.n_pairs)}
                    <span class="quiet">
                        {format!("from {}", counted(study.sources.len(), "source", "sources"))}
                    </span>
                </dd>
                {pairs_hash} {model} <dt>"Layers"</dt>
                <dd>{if layers.is_empty() { "none extracted".into_any() } else { layers.into_any() }}</dd>
                <dt>"Behaviors"</dt>
                <dd>{if behaviors.is_empty() { "none".into_any() } else { behaviors.into_any() }}</dd>
            </dl>
        </section>
    }
}

/// A hash as people compare them, whole on demand.
fn hash(sha256: &str) -> impl IntoView + use<> {
    let short: String = sha256.chars().take(12).collect();
    view! {
        <code title=sha256.to_owned()>{short} "…"</code>
        <Copy text=sha256.to_owned() what="the hash" />
    }
}

fn layer(layer: &LayerView) -> impl IntoView + use<> {
    let n_bytes: u64 = layer.shards.iter().map(|shard| shard.n_bytes).sum();
    let index = match &layer.index {
        Some(index) => format!("index {}", bytes(index.n_bytes)),
        None => "no index".to_owned(),
    };
    view! {
        <span class="item">
            {layer.layer} <span class="quiet">{format!("{} {}, {index}", layer.dtype.name(), bytes(n_bytes))}</span>
        </span>
    }
}

fn behavior(behavior: &BehaviorView) -> impl IntoView + use<> {
    let made_of = counted(behavior.n_pairs, "prompt", "prompts");
    view! {
        <span class="item">
            {behavior.name.clone()} <span class="quiet">{made_of}</span>
        </span>
    }
}
