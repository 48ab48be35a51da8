//! The first process of an orlop container: its steps, and the sealed program that runs them.
#![no_std]
