//! A group of pairs as a filter names it: of a discovery's pairs, as stored or cut elsewhere, or of a clustering.

/// One group of pairs. Labels are those of the files, from 0.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PairGroup {
    /// `group=NAME:LABEL`, or `group=NAME:LABEL/K`: of a discovery's pairs.
    Discovered {
        /// The discovery.
        discovery: String,
        /// Which of its groups.
        label: u32,
        /// Into how many groups its pairs are cut; `None` = as stored.
        cut: Option<usize>,
    },
    /// `cluster=NAME:LABEL`: of a clustering. A label below 0 says why pairs are in no cluster ([`crate::clustering`]).
    Clustered {
        /// The clustering.
        clustering: String,
        /// Which of its clusters.
        label: i32,
    },
}

impl PairGroup {
    /// Reads the value of a parameter of an address.
    pub fn parse(key: &str, value: &str) -> Option<Self> {
        let (name, which) = value.rsplit_once(':').filter(|(name, _)| !name.is_empty())?;
        match key {
            "group" => {
                let (label, cut) = match which.split_once('/') {
                    Some((label, cut)) => (label, Some(cut.parse().ok().filter(|k| *k > 0)?)),
                    None => (which, None),
                };
                Some(Self::Discovered { discovery: name.to_owned(), label: label.parse().ok()?, cut })
            }
            "cluster" => Some(Self::Clustered { clustering: name.to_owned(), label: which.parse().ok()? }),
            _ => None,
        }
    }

    /// The parameter of an address that says the same.
    pub fn to_query(&self) -> (&'static str, String) {
        match self {
            Self::Discovered { discovery, label, cut: None } => ("group", format!("{discovery}:{label}")),
            Self::Discovered { discovery, label, cut: Some(k) } => ("group", format!("{discovery}:{label}/{k}")),
            Self::Clustered { clustering, label } => ("cluster", format!("{clustering}:{label}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_come_back_from_their_address_and_what_cannot_be_read_is_none() {
        for (key, value) in [("group", "broad:0"), ("group", "b:c:2/5"), ("cluster", "clumps:12"), ("cluster", "c:-1")]
        {
            let group = PairGroup::parse(key, value).unwrap_or_else(|| panic!("{key}={value}"));
            assert_eq!(group.to_query(), (key, value.to_owned()));
        }
        for (key, value) in
            [("group", "broad"), ("group", ":1"), ("group", "b:-1"), ("group", "b:1/0"), ("cluster", "c:x")]
        {
            assert_eq!(PairGroup::parse(key, value), None, "{key}={value}");
        }
    }
}
