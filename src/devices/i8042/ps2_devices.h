// SPDX-License-Identifier: Apache-2.0
// The two devices behind the 8042: a keyboard (scan code set 2) and a three-button mouse.
#pragma once
#include <array>
#include <initializer_list>
#include <optional>

#include "base/archive.h"
#include "base/types.h"

namespace droste {

/// Bytes on their way from a device to the controller. Answers to commands go before the user's input.
class Ps2Queue {
public:
    static constexpr unsigned size = 32;
    bool empty() const { return count_ == 0; }
    unsigned room() const { return size - count_; }
    void push(u8 byte);
    u8 pop();
    void clear() { *this = Ps2Queue{}; }
    void visit(Archive& archive);

private:
    std::array<u8, size> data_{};
    u8 head_ = 0, count_ = 0;
};

class Ps2Keyboard {
public:
    void reset();
    void command(u8 byte);
    /// Make or break bytes of set 2 as a whole; dropped if scanning is off or there is no room.
    bool input(const u8* bytes, unsigned count);
    Ps2Queue& output() { return output_; }
    u8 leds() const { return leds_; }
    void visit(Archive& archive);

private:
    void answer(std::initializer_list<u8> bytes);
    void set_defaults();
    Ps2Queue output_;
    u8 waiting_ = 0;  // the command whose parameter comes next
    u8 leds_ = 0, typematic_ = 0x2B, set_ = 2, last_ = 0;
    bool scanning_ = true;
};

class Ps2Mouse {
public:
    void reset();
    void command(u8 byte);
    /// A movement (y upwards) and the buttons (bit 0 left, 1 right, 2 middle).
    bool input(int dx, int dy, u8 buttons);
    Ps2Queue& output() { return output_; }
    void visit(Archive& archive);

private:
    void answer(std::initializer_list<u8> bytes);
    void set_defaults();
    void packet();
    Ps2Queue output_;
    u8 waiting_ = 0;
    u8 buttons_ = 0, rate_ = 100, resolution_ = 2;
    bool reporting_ = false, remote_ = false, scaling_ = false, wrap_ = false;
    i16 dx_ = 0, dy_ = 0;
};

}  // namespace droste
