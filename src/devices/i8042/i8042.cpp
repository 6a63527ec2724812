// SPDX-License-Identifier: Apache-2.0
// The keyboard controller.
#include "devices/i8042/i8042.h"

#include "base/archive.h"

namespace droste {

namespace {
constexpr u8 status_output_full = 0x01, status_system = 0x04, status_command = 0x08, status_unlocked = 0x10,
             status_aux = 0x20;
constexpr u8 config_irq1 = 0x01, config_irq12 = 0x02, config_system = 0x04, config_no_keyboard = 0x10,
             config_no_aux = 0x20, config_translate = 0x40;

// Scan code set 2 to set 1, as the controller's ROM translates (codes 0x00..0x7F; above, 0x83 and 0x84 only).
constexpr u8 set_1[128] = {
    0xFF, 0x43, 0x41, 0x3F, 0x3D, 0x3B, 0x3C, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3E, 0x0F, 0x29, 0x59,
    0x65, 0x38, 0x2A, 0x70, 0x1D, 0x10, 0x02, 0x5A, 0x66, 0x71, 0x2C, 0x1F, 0x1E, 0x11, 0x03, 0x5B,
    0x67, 0x2E, 0x2D, 0x20, 0x12, 0x05, 0x04, 0x5C, 0x68, 0x39, 0x2F, 0x21, 0x14, 0x13, 0x06, 0x5D,
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5E, 0x6A, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5F,
    0x6B, 0x33, 0x25, 0x17, 0x18, 0x0B, 0x0A, 0x60, 0x6C, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0C, 0x61,
    0x6D, 0x73, 0x28, 0x74, 0x1A, 0x0D, 0x62, 0x6E, 0x3A, 0x36, 0x1C, 0x1B, 0x75, 0x2B, 0x63, 0x76,
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7A, 0x0E, 0x7B, 0x7C, 0x4F, 0x7D, 0x4B, 0x47, 0x7E, 0x7F, 0x6F,
    0x52, 0x53, 0x50, 0x4C, 0x4D, 0x48, 0x01, 0x45, 0x57, 0x4E, 0x51, 0x4A, 0x37, 0x49, 0x46, 0x54,
};
}  // namespace

void I8042::reset() {
    ram_.fill(0);
    // As firmware leaves it: translation on, system flag set, interrupts off.
    ram_[0] = config_system | config_translate;
    source_ = Source::none;
    buffer_ = waiting_ = 0;
    last_was_command_ = break_prefix_ = false;
    replies_.clear();
    keyboard_.reset();
    mouse_.reset();
    update();
}

u64 I8042::read(u64 offset, Width) {
    if (offset == 0) return read_data();
    if (offset != 1) return ~0ull;
    return static_cast<u8>((source_ != Source::none ? status_output_full : 0) |
                           (source_ == Source::aux ? status_aux : 0) |
                           (config() & config_system ? status_system : 0) |
                           (last_was_command_ ? status_command : 0) | status_unlocked);
}

void I8042::write(u64 offset, Width, u64 value) {
    if (offset == 0) {
        last_was_command_ = false;
        data(static_cast<u8>(value));
    } else if (offset == 1) {
        last_was_command_ = true;
        waiting_ = 0;
        command(static_cast<u8>(value));
    }
    fill();
}

u8 I8042::read_data() {
    const u8 v = buffer_;
    source_ = Source::none;
    update();  // the line falls between two bytes
    fill();
    return v;
}

void I8042::reply(u8 value) { replies_.push(value); }

u8 I8042::output_port() const {
    return static_cast<u8>(0xC1 | (a20_.a20() ? 2 : 0) | (source_ == Source::keyboard ? 0x10 : 0) |
                           (source_ == Source::aux ? 0x20 : 0));
}

void I8042::write_output_port(u8 value) {
    a20_.set_a20(bit(value, 1));
    if (!bit(value, 0)) platform_.reset("the 8042's output port");
}

void I8042::command(u8 value) {
    if (value >= 0x20 && value < 0x40) {
        reply(ram_[value & 0x1F]);
        return;
    }
    if (value >= 0x60 && value < 0x80) {
        waiting_ = value;
        return;
    }
    if (value >= 0xF0) {  // pulse output lines: line 0 is the processor's reset
        if (!bit(value, 0)) platform_.reset("the 8042's pulse");
        return;
    }
    switch (value) {
    case 0xA7: ram_[0] |= config_no_aux; break;
    case 0xA8: ram_[0] &= static_cast<u8>(~config_no_aux); break;
    case 0xA9: reply(0x00); break;  // the auxiliary port is well
    case 0xAA:
        ram_[0] |= config_system;
        reply(0x55);
        break;
    case 0xAB: reply(0x00); break;
    case 0xAD: ram_[0] |= config_no_keyboard; break;
    case 0xAE: ram_[0] &= static_cast<u8>(~config_no_keyboard); break;
    case 0xC0: reply(0x80); break;  // input port: not locked
    case 0xD0: reply(output_port()); break;
    case 0xD1:
    case 0xD2:
    case 0xD3:
    case 0xD4: waiting_ = value; break;
    case 0xDD: a20_.set_a20(false); break;
    case 0xDF: a20_.set_a20(true); break;
    default: break;
    }
    update();
}

void I8042::data(u8 value) {
    const u8 parameter_of = waiting_;
    waiting_ = 0;
    if (parameter_of >= 0x60 && parameter_of < 0x80) {
        ram_[parameter_of & 0x1F] = value;
        update();
        return;
    }
    switch (parameter_of) {
    case 0xD1: write_output_port(value); break;
    case 0xD2:
        buffer_ = value;
        source_ = Source::keyboard;
        update();
        break;
    case 0xD3:
        buffer_ = value;
        source_ = Source::aux;
        update();
        break;
    case 0xD4:
        ram_[0] &= static_cast<u8>(~config_no_aux);
        mouse_.command(value);
        break;
    default:
        ram_[0] &= static_cast<u8>(~config_no_keyboard);  // a byte for the keyboard enables its clock
        keyboard_.command(value);
        break;
    }
}

void I8042::fill() {
    while (source_ == Source::none) {
        if (!replies_.empty()) {
            buffer_ = replies_.pop();
            source_ = Source::controller;
        } else if (!keyboard_.output().empty() && !(config() & config_no_keyboard)) {
            u8 byte = keyboard_.output().pop();
            if (config() & config_translate) {
                if (byte == 0xF0) {
                    break_prefix_ = true;
                    continue;
                }
                byte = translate(byte);
            }
            buffer_ = byte;
            source_ = Source::keyboard;
        } else if (!mouse_.output().empty() && !(config() & config_no_aux)) {
            buffer_ = mouse_.output().pop();
            source_ = Source::aux;
        } else {
            break;
        }
    }
    update();
}

u8 I8042::translate(u8 set_2) {
    u8 code = set_2 < 0x80 ? set_1[set_2] : set_2 == 0x83 ? 0x41 : set_2 == 0x84 ? 0x54 : set_2;
    if (break_prefix_) code |= 0x80;
    break_prefix_ = false;
    return code;
}

bool I8042::key(const u8* set_2_bytes, unsigned count) {
    const bool taken = keyboard_.input(set_2_bytes, count);
    fill();
    return taken;
}

bool I8042::mouse(int dx, int dy, u8 buttons) {
    const bool taken = mouse_.input(dx, dy, buttons);
    fill();
    return taken;
}

// The controller's own answers raise IRQ1 like the keyboard's bytes.
void I8042::update() {
    irq1_.set((source_ == Source::keyboard || source_ == Source::controller) && config() & config_irq1);
    irq12_.set(source_ == Source::aux && config() & config_irq12);
}

void I8042::visit(Archive& archive) {
    archive.section("i8042", 1);
    archive.field("ram", ram_);
    archive.field("source", source_);
    archive.field("buffer", buffer_);
    archive.field("waiting", waiting_);
    archive.field("last_was_command", last_was_command_);
    archive.field("break_prefix", break_prefix_);
    replies_.visit(archive);
    keyboard_.visit(archive);
    mouse_.visit(archive);
}

}  // namespace droste
