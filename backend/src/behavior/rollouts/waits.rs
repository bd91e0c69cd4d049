//! How long to wait before asking an endpoint again: as long as it says, else longer each time.

use std::time::{Duration, SystemTime};

use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Longest wait that is chosen here.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// Wait before repetition `attempt` (from 0): doubles, and between half and all of it by chance, so that threads which
/// failed together do not come back together.
pub(super) fn backoff(first: Duration, attempt: u32, rng: &mut ChaCha8Rng) -> Duration {
    let whole = first.saturating_mul(1 << attempt.min(16)).min(LONGEST_BACKOFF);
    let share = 0.5 + 0.5 * (f64::from(rng.next_u32()) / f64::from(u32::MAX));
    whole.mul_f64(share)
}

/// How long the endpoint asks to wait: `Retry-After` in seconds or as a date, or `retry-after-ms`.
pub(super) fn retry_after(headers: &ureq::http::HeaderMap) -> Option<Duration> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if let Some(ms) = header("retry-after-ms").and_then(|text| text.parse::<u64>().ok()) {
        return Some(Duration::from_millis(ms));
    }
    let text = header("retry-after")?;
    let seconds = text.parse::<f64>().ok().and_then(|secs| Duration::try_from_secs_f64(secs).ok());
    seconds.or_else(|| {
        let date = httpdate::parse_http_date(text).ok()?;
        Some(date.duration_since(SystemTime::now()).unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn waits_double_within_their_half_and_have_an_end() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        for attempt in 0..40 {
            let wait = backoff(Duration::from_secs(1), attempt, &mut rng);
            let whole = Duration::from_secs(1 << attempt.min(16)).min(LONGEST_BACKOFF);
            assert!(wait >= whole / 2 && wait <= whole, "{attempt}: {wait:?}");
        }
    }

    #[test]
    fn retry_after_is_read_in_every_form() {
        let asked = |name: &'static str, value: &str| {
            let mut headers = ureq::http::HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(asked("retry-after", "7"), Some(Duration::from_secs(7)));
        assert_eq!(asked("retry-after-ms", "250"), Some(Duration::from_millis(250)));
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
        let wait = asked("retry-after", &date).unwrap();
        assert!(wait > Duration::from_secs(90) && wait <= Duration::from_secs(100), "{wait:?}");
        assert_eq!(asked("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO), "past");
        for wrong in ["soon", "-1", "NaN", ""] {
            assert_eq!(asked("retry-after", wrong), None, "{wrong}");
        }
    }
}
