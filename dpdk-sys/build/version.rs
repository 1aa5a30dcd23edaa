//! Which DPDK these bindings are for.

/// The supported release series. Bindings are made from the headers that are found, but layouts, flags and behaviour
/// are relied upon that differ between series.
pub(crate) const DPDK_SERIES: &str = "22.11";

/// Why `found`, the installed version, cannot be used; `None` if it can.
#[must_use]
pub(crate) fn refusal(found: Option<&str>) -> Option<String> {
    let belongs = |version: &str| {
        let patch = version.strip_prefix(DPDK_SERIES);
        patch.is_some_and(|patch| patch.is_empty() || patch.starts_with(['.', '-', '~']))
    };
    match found {
        Some(version) if belongs(version) => None,
        _ => Some(format!("DPDK {DPDK_SERIES} is needed, found {}; ci/setup installs it", found.unwrap_or("none"))),
    }
}
