// SPDX-License-Identifier: Apache-2.0
// PciFunction: configuration space of one PCI function, with its base address registers and capabilities.
#pragma once
#include <array>
#include <vector>

#include "base/device.h"

namespace droste {

class Archive;

enum class BarKind : u8 { io, memory_32, memory_64, memory_64_prefetchable };

/// A window of a function onto the buses.
struct PciWindow {
    BarKind kind{};
    u64 size = 0;            ///< a power of two; I/O at least 4, memory at least 16
    Device* device = nullptr;
    bool decoded = false;    ///< the function claims [address, address + size) ...
    bool attached = false;   ///< ... and the bus had room for it there
    u64 address = 0;
};

/// Where windows are attached. Implemented by the PCI host.
class PciDecoder {
public:
    virtual ~PciDecoder() = default;
    virtual void decode_changed(PciWindow& window, bool decode, u64 address) = 0;
};

struct PciIdentity {
    u16 vendor = 0xFFFF, device = 0xFFFF;
    u32 class_code = 0;      ///< class, subclass, programming interface
    u8 revision = 0;
    u16 subsystem_vendor = 0, subsystem = 0;
    u8 interrupt_pin = 0;    ///< 0 none, 1 INTA#
};

/// Writable bits are given by a mask of the whole space, so that any access width is defined.
class PciFunction {
public:
    explicit PciFunction(const PciIdentity& identity);
    virtual ~PciFunction() = default;
    PciFunction(const PciFunction&) = delete;
    PciFunction& operator=(const PciFunction&) = delete;

    virtual const char* name() const = 0;
    /// Configuration space as after power-up, windows closed.
    virtual void reset();
    virtual void visit(Archive& archive);

    u64 config_read(u32 offset, Width width);
    void config_write(u32 offset, Width width, u64 value);
    void connect(PciDecoder& decoder) { decoder_ = &decoder; }

    bool memory_enabled() const { return bit(config_[4], 1); }
    bool bus_master() const { return bit(config_[4], 2); }
    bool interrupt_disabled() const { return bit(config_[5], 2); }

protected:
    /// Declares base address register `index` (a 64-bit one takes the next too). Device offsets are window
    /// offsets.
    void add_bar(unsigned index, BarKind kind, u64 size, Device& device);
    /// Appends a capability (its ID and link are put before `body`) and returns its offset.
    u8 add_capability(u8 id, const std::vector<u8>& body, const std::vector<u8>& writable);
    /// Sets power-up contents and the bits that the guest may write.
    void define(u32 offset, unsigned size, u64 value, u64 writable);
    u64 config(u32 offset, unsigned size) const;
    /// Changes contents past the write mask (status bits that the device drives).
    void set_config(u32 offset, unsigned size, u64 value);
    /// After a guest's write to [offset, offset + size).
    virtual void config_written(u32 /*offset*/, unsigned /*size*/) {}
    virtual void config_reading(u32 /*offset*/, unsigned /*size*/) {}
    PciDecoder* decoder() const { return decoder_; }

private:
    static constexpr unsigned bars = 6;
    void update_windows();

    std::array<u8, 4096> config_{}, initial_{}, writable_{};
    std::array<PciWindow, bars> windows_{};
    PciDecoder* decoder_ = nullptr;
    u8 next_capability_ = 0x40, last_link_ = 0x34;
};

}  // namespace droste
