// SPDX-License-Identifier: Apache-2.0
// The 8259A pair.
#include "devices/pic/pic.h"

#include "base/archive.h"

namespace droste {

namespace {
constexpr unsigned cascade = 2;
// Inputs that the chipset keeps edge-triggered: the timer, the keyboard, the cascade; the RTC, the FPU.
constexpr u8 elcr_writable[] = {0xF8, 0xDE};
}  // namespace

void Pic::reset() {
    chips_ = {};
    output_ = false;
    intr_.set(false);
}

// Priorities run from the input after `lowest` downwards; an input in service holds back its own and lower
// ones.
int Pic::pending(const Chip& chip) const {
    const u8 requests = chip.irr & ~chip.imr;
    if (requests == 0 || chip.next_icw != 0) return -1;
    for (unsigned i = 0; i < 8; ++i) {
        const unsigned input = (chip.lowest + 1 + i) & 7;
        const bool served = bit(chip.isr, input);
        // Special fully nested mode: the slave may interrupt its own service.
        const bool nested = is_master(chip) && input == cascade && chip.special_fully_nested;
        if (bit(requests, input) && (!served || nested)) return static_cast<int>(input);
        if (!served) continue;
        // Special mask mode: an input in service holds back only itself.
        if (!chip.special_mask) return -1;
    }
    return -1;
}

void Pic::update() {
    Chip& master = chips_[0];
    Chip& slave = chips_[1];
    set_input(master, cascade, pending(slave) >= 0);
    const bool want = pending(master) >= 0;
    if (want == output_) return;
    output_ = want;
    intr_.set(want);
}

void Pic::set_input(Chip& chip, unsigned input, bool asserted) {
    const u8 m = static_cast<u8>(1u << input);
    const bool level = chip.level_mode || chip.level_triggered & m;
    if (asserted) {
        if (level || !(chip.lines & m)) chip.irr |= m;
        chip.lines |= m;
    } else {
        // A request that goes away before its acknowledge is gone: the source of spurious interrupts.
        chip.irr &= static_cast<u8>(~m);
        chip.lines &= static_cast<u8>(~m);
    }
}

void Pic::set_level(unsigned pin, bool asserted) {
    if (pin >= 16 || pin == cascade) return;
    set_input(chips_[pin >> 3], pin & 7, asserted);
    update();
}

void Pic::take(Chip& chip, unsigned input) {
    const u8 m = static_cast<u8>(1u << input);
    if (!(chip.level_mode || chip.level_triggered & m)) chip.irr &= static_cast<u8>(~m);
    if (!chip.auto_eoi) {
        chip.isr |= m;
    } else if (chip.rotate_on_auto_eoi) {
        chip.lowest = static_cast<u8>(input);
    }
}

u8 Pic::interrupt_acknowledge() {
    Chip& master = chips_[0];
    Chip& slave = chips_[1];
    // INTR drops during the acknowledge cycle, so that a further request makes a new edge.
    output_ = false;
    intr_.set(false);
    u8 vector;
    const int input = pending(master);
    if (input < 0) {
        vector = master.vector_base | 7;
    } else {
        take(master, static_cast<unsigned>(input));
        vector = master.vector_base | static_cast<u8>(input);
        if (input == cascade) {
            const int second = pending(slave);
            if (second >= 0) take(slave, static_cast<unsigned>(second));
            vector = slave.vector_base | static_cast<u8>(second >= 0 ? second : 7);
            master.lines &= static_cast<u8>(~(1u << cascade));  // the slave's INT drops too
        }
    }
    update();
    return vector;
}

u8 Pic::poll(Chip& chip) {
    chip.poll = false;
    const int input = pending(chip);
    if (input < 0) return 0;
    take(chip, static_cast<unsigned>(input));
    if (!is_master(chip)) chips_[0].lines &= static_cast<u8>(~(1u << cascade));
    update();
    return static_cast<u8>(0x80 | input);
}

u64 Pic::read(u64 offset, Width width) {
    u64 v = 0;
    for (unsigned i = 0; i < bytes(width); ++i) v |= u64(read_byte(offset + i)) << (8 * i);
    return v;
}

void Pic::write(u64 offset, Width width, u64 value) {
    for (unsigned i = 0; i < bytes(width); ++i) write_byte(offset + i, static_cast<u8>(value >> (8 * i)));
}

u8 Pic::read_byte(u64 offset) {
    if (offset == 4 || offset == 5) return chips_[offset - 4].level_triggered;
    if (offset > 5) return 0xFF;
    Chip& chip = chips_[offset >> 1];
    if (chip.poll) return poll(chip);
    if (offset & 1) return chip.imr;
    return chip.read_isr ? chip.isr : chip.irr;
}

void Pic::write_byte(u64 offset, u8 value) {
    if (offset > 5) return;
    if (offset >= 4) {
        chips_[offset - 4].level_triggered = value & elcr_writable[offset - 4];
    } else if (offset & 1) {
        data(chips_[offset >> 1], value);
    } else {
        command(chips_[offset >> 1], value);
    }
    update();
}

void Pic::command(Chip& chip, u8 value) {
    if (value & 0x10) {  // ICW1 clears the mask, the edge sense, the priorities and the read selection
        const u8 lines = chip.lines, elcr = chip.level_triggered;
        chip = Chip{};
        chip.lines = lines;
        chip.level_triggered = elcr;
        chip.icw4_needed = value & 1;
        chip.single = value & 2;
        chip.level_mode = value & 8;
        if (chip.level_mode) chip.irr = lines;
        else chip.irr = lines & elcr;
        chip.next_icw = 2;
    } else if (value & 0x08) {  // OCW3
        if (value & 2) chip.read_isr = value & 1;
        if (value & 4) chip.poll = true;
        if (value & 0x40) chip.special_mask = value & 0x20;
    } else {
        ocw2(chip, value);
    }
}

void Pic::ocw2(Chip& chip, u8 value) {
    const u8 input = value & 7;
    const auto clear_highest = [&]() -> int {
        for (unsigned i = 0; i < 8; ++i) {
            const unsigned n = (chip.lowest + 1 + i) & 7;
            // In special mask mode a non-specific EOI does not clear an input that is masked.
            if (!bit(chip.isr, n) || (chip.special_mask && bit(chip.imr, n))) continue;
            chip.isr &= static_cast<u8>(~(1u << n));
            return static_cast<int>(n);
        }
        return -1;
    };
    switch (value >> 5) {
    case 0: chip.rotate_on_auto_eoi = false; break;
    case 1: clear_highest(); break;                                    // non-specific EOI
    case 2: break;                                                     // no operation
    case 3: chip.isr &= static_cast<u8>(~(1u << input)); break;        // specific EOI
    case 4: chip.rotate_on_auto_eoi = true; break;
    case 5: {                                                          // rotate on non-specific EOI
        const int n = clear_highest();
        if (n >= 0) chip.lowest = static_cast<u8>(n);
        break;
    }
    case 6: chip.lowest = input; break;                                // set priority
    case 7:                                                            // rotate on specific EOI
        chip.isr &= static_cast<u8>(~(1u << input));
        chip.lowest = input;
        break;
    }
}

void Pic::data(Chip& chip, u8 value) {
    switch (chip.next_icw) {
    case 2:
        chip.vector_base = value & 0xF8;
        chip.next_icw = chip.single ? (chip.icw4_needed ? 4 : 0) : 3;
        break;
    case 3: chip.next_icw = chip.icw4_needed ? 4 : 0; break;  // the wiring of the cascade is fixed
    case 4:
        chip.auto_eoi = value & 2;
        chip.special_fully_nested = value & 0x10;
        chip.next_icw = 0;
        break;
    default: chip.imr = value; break;
    }
}

void Pic::visit(Archive& archive) {
    archive.section("pic", 1);
    for (Chip& chip : chips_) {
        archive.field("irr", chip.irr);
        archive.field("imr", chip.imr);
        archive.field("isr", chip.isr);
        archive.field("lines", chip.lines);
        archive.field("level_triggered", chip.level_triggered);
        archive.field("vector_base", chip.vector_base);
        archive.field("lowest", chip.lowest);
        archive.field("next_icw", chip.next_icw);
        archive.field("icw4_needed", chip.icw4_needed);
        archive.field("single", chip.single);
        archive.field("level_mode", chip.level_mode);
        archive.field("auto_eoi", chip.auto_eoi);
        archive.field("rotate_on_auto_eoi", chip.rotate_on_auto_eoi);
        archive.field("special_fully_nested", chip.special_fully_nested);
        archive.field("special_mask", chip.special_mask);
        archive.field("read_isr", chip.read_isr);
        archive.field("poll", chip.poll);
    }
    archive.field("output", output_);
}

}  // namespace droste
