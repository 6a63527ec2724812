// SPDX-License-Identifier: Apache-2.0
// The 8254 and port 0x61.
#include "devices/pit/pit.h"

namespace droste {

namespace {
constexpr u64 refresh_period = 18;  // counter clocks between two toggles of the refresh bit, about 15 us
}

void Pit::reset() {
    channels_[0].reset(true);
    channels_[1].reset(true);
    channels_[2].reset(false);
    port_b_ = 0;
    queue_.cancel(event_);
    irq0_.set(channels_[0].output(tick()));
}

u64 Pit::read(u64 offset, Width width) {
    u64 v = 0;
    for (unsigned i = 0; i < bytes(width); ++i) v |= u64(read_byte(offset + i)) << (8 * i);
    return v;
}

void Pit::write(u64 offset, Width width, u64 value) {
    for (unsigned i = 0; i < bytes(width); ++i) write_byte(offset + i, static_cast<u8>(value >> (8 * i)));
}

u8 Pit::read_byte(u64 offset) {
    if (offset < 3) return channels_[offset].read(tick());
    if (offset != 4) return 0xFF;  // the control word is write-only
    const u64 now = tick();
    channels_[2].sync(now);
    return static_cast<u8>(port_b_ | (now / refresh_period & 1) << 4 | (channels_[2].output(now) ? 0x20 : 0));
}

void Pit::write_byte(u64 offset, u8 value) {
    if (offset < 3) {
        channels_[offset].write(value, tick());
    } else if (offset == 3) {
        control_word(value);
    } else if (offset == 4) {
        port_b_ = value & 0x0F;
        channels_[2].set_gate(value & 1, tick());
    }
    update();
}

void Pit::control_word(u8 value) {
    const unsigned select = value >> 6;
    if (select == 3) {  // read-back: count if bit 5 is clear, status if bit 4 is clear
        for (unsigned i = 0; i < 3; ++i) {
            if (!bit(value, i + 1)) continue;
            if (!bit(value, 5)) channels_[i].latch_count(tick());
            if (!bit(value, 4)) channels_[i].latch_status(tick());
        }
    } else if ((value & 0x30) == 0) {
        channels_[select].latch_count(tick());
    } else {
        channels_[select].set_control(value);
    }
}

// Drives IRQ0 by channel 0's output and waits for its next change.
void Pit::update() {
    const u64 now = tick();
    channels_[0].sync(now);
    irq0_.set(channels_[0].output(now));
    const u64 next = channels_[0].next_change(now);
    queue_.schedule(event_, next == PitChannel::no_tick ? never : clock_.time_of(next - first_tick));
}

void Pit::due(Time) {
    // When the event comes late by a whole pulse, the edge must not be lost.
    const u64 now = tick();
    if (channels_[0].output(now) && !channels_[0].output(now - 1)) irq0_.set(false);
    update();
}

void Pit::visit(Archive& archive) {
    archive.section("pit", 1);
    for (PitChannel& channel : channels_) channel.visit(archive);
    archive.field("port_b", port_b_);
    visit_event(archive, "due", queue_, event_);
}

}  // namespace droste
