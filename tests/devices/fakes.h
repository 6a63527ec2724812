// SPDX-License-Identifier: Apache-2.0
// What the devices under test are connected to: a settable clock, recorded wires, pins, output and platform
// requests.
#pragma once
#include <algorithm>
#include <array>
#include <random>
#include <string>
#include <vector>

#include "base/archive.h"
#include "base/events.h"
#include "base/host_output.h"
#include "base/interrupt_controller.h"
#include "base/interrupt_line.h"
#include "devices/dma_memory.h"
#include "devices/reset/reset.h"

namespace droste::test {

class Clock final : public TimeSource {
public:
    explicit Clock(u64 master_hz = 2'000'000'000) : TimeSource(master_hz) {}
    Time now() const override { return now_; }
    /// Advances to `to`, firing events at exactly their times as the run loop does.
    void run_to(Time to) {
        while (queue.next() <= to) {
            if (queue.next() > now_) now_ = queue.next();
            queue.run(now_);
        }
        now_ = to;
    }
    void run_for(Time periods) { run_to(now_ + periods); }
    void run_seconds(double seconds) {
        run_for(static_cast<Time>(seconds * static_cast<double>(master_hz())));
    }
    void set(Time t) { now_ = t; }
    EventQueue queue;

private:
    Time now_ = 0;
};

class Wires final : public InterruptSink {
public:
    void set_level(unsigned pin, bool asserted) override {
        if (pin >= 64) return;
        if (asserted && !bit(levels, pin)) ++rises[pin];
        levels = asserted ? levels | 1ull << pin : levels & ~(1ull << pin);
    }
    InterruptLine line(unsigned pin) { return InterruptLine(*this, pin); }
    bool level(unsigned pin) const { return bit(levels, pin); }
    u64 levels = 0;
    std::array<unsigned, 64> rises{};
};

class Pins final : public CpuPins {
public:
    void interrupt_pending_changed() override { ++changes; }
    void nmi() override { ++nmis; }
    void init() override { ++inits; }
    void sipi(u8 vector) override { sipis.push_back(vector); }
    unsigned changes = 0, nmis = 0, inits = 0;
    std::vector<u8> sipis;
};

class Text final : public ByteSink {
public:
    void put(u8 byte) override { text.push_back(static_cast<char>(byte)); }
    std::string text;
};

class Platform final : public PlatformControl {
public:
    void power_off(std::string_view) override { ++power_offs; }
    void reset(std::string_view) override { ++resets; }
    void debug_exit(u32 value) override { exits.push_back(value); }
    unsigned power_offs = 0, resets = 0;
    std::vector<u32> exits;
};

class A20 final : public A20Gate {
public:
    void set_a20(bool open) override { open_ = open; }
    bool a20() const override { return open_; }

private:
    bool open_ = true;
};

class Memory final : public DmaMemory {
public:
    explicit Memory(std::size_t size = 64 * 1024) : bytes(size) {}
    bool read(MachinePhys from, void* data, std::size_t size) override {
        if (from.value > bytes.size() || size > bytes.size() - from.value) return false;
        std::copy_n(bytes.data() + from.value, size, static_cast<u8*>(data));
        return true;
    }
    bool write(MachinePhys to, const void* data, std::size_t size) override {
        if (to.value > bytes.size() || size > bytes.size() - to.value) return false;
        std::copy_n(static_cast<const u8*>(data), size, bytes.data() + to.value);
        return true;
    }
    std::vector<u8> bytes;
};

template <class Part> std::vector<u8> save(Part& part) {
    SaveArchive archive;
    part.visit(archive);
    return archive.data;
}

}  // namespace droste::test
