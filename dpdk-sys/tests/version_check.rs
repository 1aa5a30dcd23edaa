//! What the build says of the DPDK it finds.

#[path = "../build/version.rs"]
mod version;

#[test]
fn another_series_is_refused_in_a_sentence() {
    for right in ["22.11", "22.11.0", "22.11.11", "22.11-rc1", "22.11.0-rc2"] {
        assert_eq!(version::refusal(Some(right)), None, "{right}");
    }
    for wrong in ["22.07.0", "23.11.2", "22.1", "22.111", "2.2.11", ""] {
        let expected = format!("DPDK 22.11 is needed, found {wrong}; ci/setup installs it");
        assert_eq!(version::refusal(Some(wrong)), Some(expected));
    }
    assert_eq!(version::refusal(None).as_deref(), Some("DPDK 22.11 is needed, found none; ci/setup installs it"));
}
