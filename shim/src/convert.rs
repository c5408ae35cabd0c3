//! Between the wire's types and ours.

use jiff::Timestamp;
use protobuf::well_known_types::timestamp::Timestamp as WireTimestamp;

/// A time on the wire.
pub fn timestamp(time: Timestamp) -> WireTimestamp {
    let (mut seconds, mut nanos) = (time.as_second(), time.subsec_nanosecond());
    // On the wire the fraction is never negative.
    if nanos < 0 {
        (seconds, nanos) = (seconds - 1, nanos + 1_000_000_000);
    }
    WireTimestamp {
        seconds,
        nanos,
        ..Default::default()
    }
}
