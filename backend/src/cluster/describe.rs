//! From labels to what a person reads: sizes, cohesion, exemplars, words and sources of every cluster.

use std::collections::BTreeSet;

use whence_shared::cluster::kmeans;
use whence_shared::cluster::points::Points;
use whence_shared::cluster::reading::{Counts, N_EXEMPLARS, Text};
use whence_shared::clustering::{NO_DIRECTION, NOISE, PairCluster};
use whence_shared::discovery::PairEntry;
use whence_shared::pair::{Pair, Side, spoken_text};

use super::rows::has_direction;
use crate::data::pairs::{PairFile, PairFileError, SNIPPET_CHARS};

/// Pairs whose words are counted, of all clusters together.
pub const MAX_READ: usize = 1 << 16;

/// Where a row stands among the centres.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// Row of the study.
    pub row: u32,
    /// Its cluster, or a label below 0.
    pub label: i32,
    /// Cosine with its own centre.
    pub own: f32,
    /// The largest cosine with another centre; −1 where there is none.
    pub other: f32,
}

/// Places of rows, `[n, d_model]` at unit length, among centres: in the cluster of the nearest centre, the first of equals, or in that
/// of their label. Rows that have no direction are in none.
pub fn places(first_row: usize, values: &[f32], d_model: usize, centres: &[f32]) -> Vec<Place> {
    let mut places = Vec::with_capacity(values.len() / d_model);
    let points = Points::new(values, d_model).expect("rows are finite and there is one");
    kmeans::products(points, centres, |i, products| {
        let nearest = (1..products.len()).fold(0, |best, c| if products[c] > products[best] { c } else { best });
        let label = if has_direction(points.row(i)) { nearest as i32 } else { NO_DIRECTION };
        places.push(place((first_row + i) as u32, label, products));
    });
    places
}

/// Places of rows that have labels already; rows in no cluster have no place.
pub fn places_of_labels(rows: &[usize], values: &[f32], d_model: usize, centres: &[f32], labels: &[i32]) -> Vec<Place> {
    let mut places = Vec::with_capacity(rows.len());
    let points = Points::new(values, d_model).expect("rows are finite and there is one");
    kmeans::products(points, centres, |i, products| {
        if labels[i] > NOISE {
            places.push(place(rows[i] as u32, labels[i], products));
        }
    });
    places
}

fn place(row: u32, label: i32, products: &[f32]) -> Place {
    let own = if label > NOISE { products[label as usize] } else { 0.0 };
    let others = products.iter().enumerate().filter(|(centre, _)| *centre as i32 != label);
    let other = others.map(|(_, product)| *product).fold(-1.0, f32::max);
    Place { row, label, own: own.clamp(-1.0, 1.0), other: other.clamp(-1.0, 1.0) }
}

/// New numbers of clusters: the largest first, of equals the one with the first row; none of those without rows.
pub fn by_size(places: &[Place], n_clusters: usize) -> Vec<Option<u32>> {
    let (mut sizes, mut firsts) = (vec![0usize; n_clusters], vec![u32::MAX; n_clusters]);
    for place in places.iter().filter(|place| place.label > NOISE) {
        sizes[place.label as usize] += 1;
        firsts[place.label as usize] = firsts[place.label as usize].min(place.row);
    }
    let mut order: Vec<usize> = (0..n_clusters).filter(|&cluster| sizes[cluster] > 0).collect();
    order.sort_by_key(|&cluster| (std::cmp::Reverse(sizes[cluster]), firsts[cluster]));
    let mut numbers = vec![None; n_clusters];
    order.into_iter().zip(0..).for_each(|(cluster, number)| numbers[cluster] = Some(number));
    numbers
}

/// Sizes, cohesion and exemplars; stability and words are still to come. Places have their final labels.
pub fn shapes(places: &[Place], n_clusters: usize) -> Vec<PairCluster> {
    let mut members: Vec<Vec<Place>> = vec![Vec::new(); n_clusters];
    for place in places.iter().filter(|place| place.label > NOISE) {
        members[place.label as usize].push(*place);
    }
    members.iter_mut().map(|members| shape(members, n_clusters)).collect()
}

fn shape(members: &mut [Place], n_clusters: usize) -> PairCluster {
    let size = members.len();
    let mean = |of: &dyn Fn(&Place) -> f64| members.iter().map(of).sum::<f64>() / size as f64;
    let silhouette = |place: &Place| {
        let (a, b) = (1.0 - f64::from(place.own), 1.0 - f64::from(place.other));
        if a.max(b) > 0.0 { (b - a) / a.max(b) } else { 0.0 }
    };
    let (cohesion, silhouette) =
        (mean(&|place| f64::from(place.own)), if size < 2 || n_clusters < 2 { 0.0 } else { mean(&silhouette) });
    let first = |members: &[Place]| members.iter().take(N_EXEMPLARS).map(|place| place.row).collect();
    members.sort_by(|a, b| b.own.total_cmp(&a.own).then(a.row.cmp(&b.row)));
    let typical = first(members);
    members.sort_by(|a, b| (a.own - a.other).total_cmp(&(b.own - b.other)).then(a.row.cmp(&b.row)));
    let border = first(members);
    PairCluster { size, cohesion, silhouette, jaccard: None, typical, border, reading: Default::default() }
}

/// Rows whose words are counted, ascending, with their group: of each group as many, spread evenly over its rows.
pub fn rows_to_read(groups: &[Vec<u32>]) -> Vec<(u32, usize)> {
    let per_group = (MAX_READ / groups.len().max(1)).max(1);
    let mut rows = Vec::new();
    for (group, members) in groups.iter().enumerate() {
        let n = members.len().min(per_group);
        rows.extend((0..n).map(|i| (members[i * members.len() / n], group)));
    }
    rows.sort_unstable();
    rows
}

/// Rows of every cluster by their labels, ascending; of the noise as the last group, if there is any.
pub fn groups(labels: &[i32], n_clusters: usize) -> Vec<Vec<u32>> {
    let mut groups = vec![Vec::new(); n_clusters + 1];
    for (row, &label) in (0..).zip(labels) {
        match label {
            NOISE => groups[n_clusters].push(row),
            label if label > NOISE => groups[label as usize].push(row),
            _ => {}
        }
    }
    if groups[n_clusters].is_empty() {
        groups.pop();
    }
    groups
}

/// What was read of the pairs.
pub struct Read {
    /// Words and sources of every group.
    pub counts: Counts,
    /// Pairs whose words were counted.
    pub n_read: usize,
    /// The pairs asked for by row.
    pub entries: Vec<PairEntry>,
}

/// Reads words and sources of groups, and the pairs of some rows.
///
/// # Errors
///
/// When the pairs cannot be read.
pub fn read(file: &PairFile, groups: &[Vec<u32>], named: &BTreeSet<u32>) -> Result<Read, PairFileError> {
    let mut counts = Counts::new(groups.len());
    let sources = file.sources()?;
    for (group, rows) in groups.iter().enumerate() {
        rows.iter().for_each(|&row| counts.add_source(group, &sources[row as usize]));
    }
    let words = rows_to_read(groups);
    let mut rows: Vec<u32> = words.iter().map(|&(row, _)| row).chain(named.iter().copied()).collect();
    rows.sort_unstable();
    rows.dedup();
    let (mut next, mut entries) = (words.iter().peekable(), Vec::new());
    file.visit_rows(&rows, |row, pair| {
        if let Some(&(_, group)) = next.next_if(|(wanted, _)| *wanted == row) {
            count(&mut counts, group, &pair);
        }
        if named.contains(&row) {
            let snippet = pair.snippet(SNIPPET_CHARS);
            entries.push(PairEntry { row, id: pair.id, source: pair.source, snippet });
        }
    })?;
    Ok(Read { counts, n_read: words.len(), entries })
}

fn count(counts: &mut Counts, group: usize, pair: &Pair) {
    let prompt = spoken_text(&pair.prompt);
    let text = Text {
        prompt: &prompt,
        chosen: pair.response(Side::Chosen),
        rejected: pair.response(Side::Rejected),
        source: &pair.source,
    };
    counts.add_words(group, &text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_go_to_the_nearest_centre_and_know_the_next() {
        let centres = [1.0, 0.0, 0.0, 1.0];
        let found = places(10, &[0.8, 0.6, 0.0, 0.0, 0.0, 1.0, 0.6, 0.8], 2, &centres);
        let labels: Vec<i32> = found.iter().map(|place| place.label).collect();
        assert_eq!(labels, [0, NO_DIRECTION, 1, 1]);
        assert_eq!(found[0], Place { row: 10, label: 0, own: 0.8, other: 0.6 });
        let numbers = by_size(&found, 2);
        assert_eq!(numbers, [Some(1), Some(0)]);
        assert_eq!(by_size(&found[..1], 2), [Some(0), None]);
        let shapes = shapes(&found, 2);
        assert_eq!((shapes[0].size, shapes[0].silhouette), (1, 0.0));
        assert_eq!(
            (shapes[1].typical.as_slice(), shapes[1].border.as_slice()),
            ([12, 13].as_slice(), [13, 12].as_slice())
        );
        assert!((shapes[1].cohesion - 0.9).abs() < 1e-6);
        // Row 12: a = 0, b = 1. Row 13: a = 0.2, b = 0.4.
        assert!((shapes[1].silhouette - 0.75).abs() < 1e-6);
    }

    #[test]
    fn of_large_groups_a_part_is_read_evenly() {
        let groups = [(0..MAX_READ as u32).collect::<Vec<u32>>(), vec![MAX_READ as u32 + 5]];
        let rows = rows_to_read(&groups);
        assert_eq!(rows.len(), MAX_READ / 2 + 1);
        assert_eq!((rows[1], rows[rows.len() - 1]), ((2, 0), (MAX_READ as u32 + 5, 1)));
    }
}
