// SPDX-License-Identifier: Apache-2.0
// The PS/2 keyboard's and mouse's side of the conversation.
#include "devices/i8042/ps2_devices.h"

#include <algorithm>

namespace droste {

namespace {
constexpr u8 ack = 0xFA, resend = 0xFE, self_test_passed = 0xAA;
}

void Ps2Queue::push(u8 byte) {
    if (count_ == size) return;
    data_[(head_ + count_++) % size] = byte;
}

u8 Ps2Queue::pop() {
    const u8 byte = data_[head_];
    head_ = (head_ + 1) % size;
    --count_;
    return byte;
}

void Ps2Queue::visit(Archive& archive) {
    archive.field("data", data_);
    archive.field("head", head_);
    archive.field("count", count_);
    if (archive.mode() != Archive::Mode::load) return;
    head_ %= size;
    count_ = std::min<u8>(count_, size);
}

// --- keyboard ---

void Ps2Keyboard::set_defaults() {
    typematic_ = 0x2B;
    set_ = 2;
}

void Ps2Keyboard::reset() {
    output_.clear();
    waiting_ = leds_ = last_ = 0;
    set_defaults();
    scanning_ = true;
}

void Ps2Keyboard::answer(std::initializer_list<u8> bytes) {
    for (u8 b : bytes) output_.push(b);
    if (bytes.size() != 0) last_ = *(bytes.end() - 1);
}

bool Ps2Keyboard::input(const u8* bytes, unsigned count) {
    if (!scanning_ || output_.room() < count) return false;
    for (unsigned i = 0; i < count; ++i) output_.push(bytes[i]);
    if (count != 0) last_ = bytes[count - 1];
    return true;
}

void Ps2Keyboard::command(u8 byte) {
    if (const u8 parameter_of = waiting_; parameter_of != 0 && byte < 0xE0) {
        waiting_ = 0;
        switch (parameter_of) {
        case 0xED: leds_ = byte & 7; break;
        case 0xF3: typematic_ = byte & 0x7F; break;
        case 0xF0:
            if (byte == 0) {
                answer({ack, set_});
                return;
            }
            if (byte <= 3) set_ = byte;
            break;
        default: break;
        }
        answer({ack});
        return;
    }
    waiting_ = 0;
    switch (byte) {
    case 0xEE: answer({0xEE}); return;  // echo
    case 0xFE: output_.push(last_); return;
    case 0xED:
    case 0xF0:
    case 0xF3: waiting_ = byte; break;
    case 0xF2: answer({ack, 0xAB, 0x83}); return;
    case 0xF4:
        output_.clear();
        scanning_ = true;
        break;
    case 0xF5:
        output_.clear();
        set_defaults();
        scanning_ = false;
        break;
    case 0xF6: set_defaults(); break;
    case 0xF7:
    case 0xF8:
    case 0xF9:
    case 0xFA: break;  // key types of set 3
    case 0xFF:
        reset();
        answer({ack, self_test_passed});
        return;
    default: answer({resend}); return;
    }
    answer({ack});
}

void Ps2Keyboard::visit(Archive& archive) {
    output_.visit(archive);
    archive.field("waiting", waiting_);
    archive.field("leds", leds_);
    archive.field("typematic", typematic_);
    archive.field("set", set_);
    archive.field("last", last_);
    archive.field("scanning", scanning_);
}

// --- mouse ---

void Ps2Mouse::set_defaults() {
    rate_ = 100;
    resolution_ = 2;
    scaling_ = reporting_ = remote_ = wrap_ = false;
    dx_ = dy_ = 0;
}

void Ps2Mouse::reset() {
    output_.clear();
    waiting_ = buttons_ = 0;
    set_defaults();
}

void Ps2Mouse::answer(std::initializer_list<u8> bytes) {
    for (u8 b : bytes) output_.push(b);
}

// Three bytes: overflow, signs and buttons; the two movements. What does not fit waits for the next packet.
void Ps2Mouse::packet() {
    const i16 x = std::clamp<i16>(dx_, -255, 255), y = std::clamp<i16>(dy_, -255, 255);
    dx_ = static_cast<i16>(dx_ - x);
    dy_ = static_cast<i16>(dy_ - y);
    output_.push(static_cast<u8>(8 | (buttons_ & 7) | (x < 0 ? 0x10 : 0) | (y < 0 ? 0x20 : 0)));
    output_.push(static_cast<u8>(x));
    output_.push(static_cast<u8>(y));
}

bool Ps2Mouse::input(int dx, int dy, u8 buttons) {
    const auto add = [](i16 a, int b) {
        return static_cast<i16>(std::clamp(a + std::clamp(b, -4096, 4096), -4096, 4096));
    };
    dx_ = add(dx_, dx);
    dy_ = add(dy_, dy);
    buttons_ = buttons & 7;
    if (!reporting_ || remote_ || wrap_ || output_.room() < 3) return false;
    packet();
    return true;
}

void Ps2Mouse::command(u8 byte) {
    if (wrap_ && byte != 0xEC && byte != 0xFF) {
        output_.push(byte);
        return;
    }
    if (const u8 parameter_of = waiting_; parameter_of != 0) {
        waiting_ = 0;
        if (parameter_of == 0xE8) resolution_ = byte & 3;
        if (parameter_of == 0xF3) rate_ = byte;
        answer({ack});
        return;
    }
    switch (byte) {
    case 0xE6: scaling_ = false; break;
    case 0xE7: scaling_ = true; break;
    case 0xE8:
    case 0xF3: waiting_ = byte; break;
    case 0xE9:
        answer({ack,
                static_cast<u8>((remote_ ? 0x40 : 0) | (reporting_ ? 0x20 : 0) | (scaling_ ? 0x10 : 0) |
                                (buttons_ & 1) << 2 | (buttons_ & 4) >> 1 | (buttons_ & 2) >> 1),
                resolution_, rate_});
        return;
    case 0xEA: remote_ = false; break;
    case 0xEB:
        answer({ack});
        packet();
        return;
    case 0xEC: wrap_ = false; break;
    case 0xEE: wrap_ = true; break;
    case 0xF0: remote_ = true; break;
    case 0xF2: answer({ack, 0x00}); return;  // a standard mouse
    case 0xF4: reporting_ = true; break;
    case 0xF5: reporting_ = false; break;
    case 0xF6: set_defaults(); break;
    case 0xFF:
        reset();
        answer({ack, self_test_passed, 0x00});
        return;
    default: answer({resend}); return;
    }
    answer({ack});
}

void Ps2Mouse::visit(Archive& archive) {
    output_.visit(archive);
    archive.field("waiting", waiting_);
    archive.field("buttons", buttons_);
    archive.field("rate", rate_);
    archive.field("resolution", resolution_);
    archive.field("reporting", reporting_);
    archive.field("remote", remote_);
    archive.field("scaling", scaling_);
    archive.field("wrap", wrap_);
    archive.field("dx", dx_);
    archive.field("dy", dy_);
}

}  // namespace droste
