// SPDX-License-Identifier: Apache-2.0
// Guest RAM, the frames of it that hold decoded code, and the way to memory-mapped devices.
#pragma once
#include <cstring>
#include <vector>

#include "base/bus.h"
#include "base/types.h"

namespace droste {

class Archive;

/// Told when bytes that were decoded are overwritten, by whatever writer.
class CodeWatcher {
public:
    virtual ~CodeWatcher() = default;
    /// 64-byte lines `granules` of frame number `frame` (machine-physical >> 12) change now. Without any, only what
    /// is marked in the frame is to be told again.
    virtual void code_overwritten(u64 frame, u64 granules) = 0;
};

/// Told when a byte of the one line that it watches is written, by whatever writer; after that it watches none.
class LineWatcher {
public:
    virtual ~LineWatcher() = default;
    virtual void line_written() = 0;
};

/// RAM below and above the hole for devices that ends at 4 GiB. Backed by lazily populated host memory.
class PhysicalMemory {
public:
    static constexpr u64 hole_start = 0xC000'0000;  ///< RAM beyond this continues at 4 GiB
    static constexpr u64 vga_hole_start = 0xA'0000,
                         vga_hole_size = 0x2'0000;  ///< no RAM: a display's, or empty
    /// @param ram_bytes multiple of 4 KiB. Throws std::bad_alloc when the host has no such address range.
    PhysicalMemory(u64 ram_bytes, MemoryBus& mmio);
    ~PhysicalMemory();
    PhysicalMemory(const PhysicalMemory&) = delete;
    PhysicalMemory& operator=(const PhysicalMemory&) = delete;

    u64 ram_bytes() const { return ram_bytes_; }
    /// Host address of the byte at `a`, valid to the end of its page; null where there is no RAM.
    u8* host(u64 a) const {
        if (a < low_bytes_) return a - vga_hole_start < vga_hole_size ? nullptr : low_ + a;
        const u64 high = a - (1ull << 32);
        return high < high_bytes_ ? high_ + high : nullptr;
    }
    /// Accesses by page walks, VMX structures, loaders and DMA: RAM or bus; any alignment; code writes are
    /// seen.
    u64 read(u64 a, Width w) const;
    void write(u64 a, Width w, u64 value);
    u64 read64(u64 a) const { return read_as<u64>(a); }
    void write64(u64 a, u64 v) { write_as(a, v); }
    u32 read32(u64 a) const { return read_as<u32>(a); }
    void write32(u64 a, u32 v) { write_as(a, v); }
    void read_block(u64 a, void* to, u64 size) const;
    void write_block(u64 a, const void* from, u64 size);
    MemoryBus& mmio() const { return mmio_; }

    /// Decoded-code tracking. A frame with code gets no write tags in any TLB. Frames of devices (ROM) are
    /// not tracked: their bytes do not change by stores.
    bool has_code(u64 a) const { return code_granules(a) != 0; }
    u64 code_granules(u64 a) const { return host(a) == nullptr ? 0 : code_[frame_index(a)]; }
    void add_code(u64 a, u64 granules) {
        if (host(a) != nullptr) code_[frame_index(a)] |= granules;
    }
    void clear_code(u64 a) {
        if (host(a) != nullptr) code_[frame_index(a)] = watched_lines(a);
    }
    /// Lines that processors monitor are treated as lines with code: a frame with one gets no write tags. The
    /// caller drops those that there are.
    void watch_line(u64 a, LineWatcher& watcher);
    void unwatch_line(LineWatcher& watcher);
    void set_code_watcher(CodeWatcher* watcher) { watcher_ = watcher; }
    /// To be called before `size` bytes at `a` (within one page, RAM) are changed through host().
    void about_to_write(u64 a, u64 size) {
        const u64 lines = code_[frame_index(a)];
        if (lines != 0) [[unlikely]]
            code_hit(a, size, lines);
    }
    /// Number of the frame among all frames of RAM. `a` must be RAM.
    u64 frame_index(u64 a) const { return a < low_bytes_ ? a >> 12 : (a - (1ull << 32) + low_bytes_) >> 12; }

    void visit(Archive& archive);

private:
    // Page walks and VMX structures use these: RAM within a page needs no call.
    template <class T> T read_as(u64 a) const {
        const u8* p = host(a);
        if (p == nullptr || (a & 0xFFF) + sizeof(T) > 0x1000) [[unlikely]]
            return static_cast<T>(read(a, static_cast<Width>(sizeof(T))));
        T v;
        std::memcpy(&v, p, sizeof v);
        return v;
    }
    template <class T> void write_as(u64 a, T v) {
        u8* p = host(a);
        if (p == nullptr || (a & 0xFFF) + sizeof(T) > 0x1000) [[unlikely]]
            return write(a, static_cast<Width>(sizeof(T)), v);
        about_to_write(a, sizeof v);
        std::memcpy(p, &v, sizeof v);
    }
    void code_hit(u64 a, u64 size, u64 lines);
    u64 watched_lines(u64 a) const;
    struct Watch {
        u64 line;
        LineWatcher* watcher;
    };
    u64 ram_bytes_, low_bytes_, high_bytes_;
    u8* low_ = nullptr;
    u8* high_ = nullptr;
    MemoryBus& mmio_;
    std::vector<u64> code_;  // granules with decoded code or watched, by frame index
    std::vector<Watch> watches_;
    CodeWatcher* watcher_ = nullptr;
};

}  // namespace droste
