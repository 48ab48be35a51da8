//! The list of tests that are written ahead of what they test: the file `pending`.

/// Whether that test may fail in that environment.
pub fn is_pending(environment: Option<&str>, name: &str) -> bool {
    include_str!("../pending").lines().map(str::trim).any(|line| {
        if line.is_empty() || line.starts_with('#') {
            return false;
        }
        let (place, pattern) = line.split_once(':').map_or((None, line), |(e, p)| (Some(e), p));
        let here = place.is_none() || place == environment;
        here && match pattern.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == pattern,
        }
    })
}
