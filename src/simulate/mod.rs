//! Whole fleets in virtual time.

mod course;

pub use course::{
    Band, BandOverTime, Bands, Comparison, Course, Event, Load, Outlook, Reached, RolloutCourse, TIMED_SHARES_BPS,
    WaveCourse,
};
