pub const TESTS: &[crate::tests::Test] = &[];
