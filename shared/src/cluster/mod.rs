//! Clusters: which prompts, and which pairs, belong together without anybody having said so.
//!
//! Where discovery stands: behavior vectors and pair vectors come in, groups of them go out, to be read by a person. In
//! the order things are built on each other:
//!
//! - [`points`]: the rows that are clustered, and what is refused;
//! - [`linkage`]: Ward's hierarchy, cut by height or into a number of clusters;
//! - [`leaf_order`]: the order of a hierarchy's leaves that puts neighbours side by side, for the heatmap;
//! - [`kmeans`]: spherical k-means, whole or in small batches; [`kmeans_parts`] where the rows lie with several workers;
//! - [`neighbors`]: the nearest rows of every row;
//! - [`hdbscan`]: clusters of any shape in the density of rows, with noise; [`hdbscan_graph`] for many rows;
//! - [`umap`]: rows on a plane, neighbours beside each other, and [`trustworthiness`] of such a plane;
//! - [`partition`]: how far two partitions agree;
//! - [`stability`]: how many clusters hold when the rows are drawn again, and whether any do;
//! - [`one_way`]: whether a cluster of differences is a change, or goes either way as chance has it;
//! - [`members`]: who is typical of a cluster and who lies at its border, and which clusters come back;
//! - [`terms`]: the words that tell a cluster from the others;
//! - [`contrast`]: the words that tell two clusters from each other;
//! - [`enrichment`]: the sources that a cluster has more of than chance;
//! - [`reading`]: all of these together, as discovery and the clusters of pairs are described.
//!
//! Everything is a function of its arguments, seeds included; natively and in the browser the same labels come out.

pub mod contrast;
pub mod enrichment;
pub mod hdbscan;
pub mod hdbscan_graph;
pub mod kmeans;
pub mod kmeans_parts;
pub mod leaf_order;
pub mod linkage;
pub mod members;
mod nearest;
pub mod neighbors;
pub mod one_way;
pub mod partition;
pub mod points;
pub mod reading;
pub mod stability;
pub mod terms;
pub mod trustworthiness;
pub mod umap;
