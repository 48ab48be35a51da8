//! Control groups v1, v2 and hybrid: limits, devices, statistics, events.
#![no_std]
