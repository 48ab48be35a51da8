//! What is planned for which configuration: each test is a configuration and the entries that it must give.

mod users;
