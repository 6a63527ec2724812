// SPDX-License-Identifier: Apache-2.0
// RAM in lazily populated host memory, accesses that fall on RAM or the bus, and the reporting of code
// writes.
#include "mmu/physical_memory.h"

#include <algorithm>
#include <cstring>
#include <new>

#include <sys/mman.h>

#include "base/archive.h"
#include "base/assert.h"

namespace droste {
namespace {

constexpr u64 page_bytes = 4096;

u8* reserve(u64 size) {
    if (size == 0) return nullptr;
    void* p = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    madvise(p, size, MADV_HUGEPAGE);  // only speed: a refusal changes nothing
    return static_cast<u8*>(p);
}

bool all_zero(const u8* page) { return page[0] == 0 && std::memcmp(page, page + 1, page_bytes - 1) == 0; }

/// Widest natural access that starts at `a` and stays within `left` bytes.
Width natural_width(u64 a, u64 left) {
    for (const unsigned w : {8u, 4u, 2u})
        if (left >= w && a % w == 0) return static_cast<Width>(w);
    return Width::byte;
}

}  // namespace

PhysicalMemory::PhysicalMemory(u64 ram_bytes, MemoryBus& mmio)
    : ram_bytes_(ram_bytes), low_bytes_(std::min(ram_bytes, hole_start)), high_bytes_(ram_bytes - low_bytes_),
      mmio_(mmio), code_(ram_bytes / page_bytes + 1) {
    ASSERT(ram_bytes % page_bytes == 0);
    low_ = reserve(low_bytes_);
    try {
        high_ = reserve(high_bytes_);
    } catch (...) {
        if (low_ != nullptr) munmap(low_, low_bytes_);
        throw;
    }
}

PhysicalMemory::~PhysicalMemory() {
    if (low_ != nullptr) munmap(low_, low_bytes_);
    if (high_ != nullptr) munmap(high_, high_bytes_);
}

u64 PhysicalMemory::read(u64 a, Width w) const {
    const unsigned n = bytes(w);
    if ((a & (page_bytes - 1)) + n <= page_bytes) {
        const u8* p = host(a);
        if (p == nullptr) return mmio_.read(MachinePhys(a), w);
        u64 v = 0;
        std::memcpy(&v, p, n);
        return v;
    }
    u64 v = 0;
    for (unsigned i = 0; i < n; ++i) v |= read(a + i, Width::byte) << (8 * i);
    return v;
}

void PhysicalMemory::write(u64 a, Width w, u64 value) {
    const unsigned n = bytes(w);
    if ((a & (page_bytes - 1)) + n <= page_bytes) {
        u8* p = host(a);
        if (p == nullptr) return mmio_.write(MachinePhys(a), w, value);
        about_to_write(a, n);
        std::memcpy(p, &value, n);
        return;
    }
    for (unsigned i = 0; i < n; ++i) write(a + i, Width::byte, value >> (8 * i));
}

void PhysicalMemory::read_block(u64 a, void* to, u64 size) const {
    u8* out = static_cast<u8*>(to);
    while (size != 0) {
        u64 n = std::min(size, page_bytes - (a & (page_bytes - 1)));
        if (const u8* p = host(a)) {
            std::memcpy(out, p, n);
        } else {
            const Width w = natural_width(a, n);
            n = bytes(w);
            const u64 v = mmio_.read(MachinePhys(a), w);
            std::memcpy(out, &v, n);
        }
        a += n;
        out += n;
        size -= n;
    }
}

void PhysicalMemory::write_block(u64 a, const void* from, u64 size) {
    const u8* in = static_cast<const u8*>(from);
    while (size != 0) {
        u64 n = std::min(size, page_bytes - (a & (page_bytes - 1)));
        if (u8* p = host(a)) {
            about_to_write(a, n);
            std::memcpy(p, in, n);
        } else {
            const Width w = natural_width(a, n);
            n = bytes(w);
            u64 v = 0;
            std::memcpy(&v, in, n);
            mmio_.write(MachinePhys(a), w, v);
        }
        a += n;
        in += n;
        size -= n;
    }
}

void PhysicalMemory::code_hit(u64 a, u64 size, u64 lines) {
    const unsigned first = static_cast<unsigned>((a & (page_bytes - 1)) / 64);
    const unsigned last =
        static_cast<unsigned>(std::min((a & (page_bytes - 1)) + size - 1, page_bytes - 1) / 64);
    const u64 written = (~0ull >> (63 - (last - first))) << first;
    if (size == 0 || (lines & written) == 0) return;
    for (std::size_t i = 0; i < watches_.size();) {
        const u64 line = watches_[i].line;
        if (line < (a & ~63ull) || line >= a + size) {
            ++i;
            continue;
        }
        LineWatcher& watcher = *watches_[i].watcher;
        watches_.erase(watches_.begin() + static_cast<long>(i));
        watcher.line_written();
    }
    if (watcher_ != nullptr) watcher_->code_overwritten(a / page_bytes, lines & written);
}

u64 PhysicalMemory::watched_lines(u64 a) const {
    u64 lines = 0;
    for (const Watch& w : watches_)
        if (w.line / page_bytes == a / page_bytes) lines |= 1ull << (w.line % page_bytes / 64);
    return lines;
}

void PhysicalMemory::watch_line(u64 a, LineWatcher& watcher) {
    unwatch_line(watcher);
    watches_.push_back({a & ~63ull, &watcher});
    add_code(a, watched_lines(a));
}

void PhysicalMemory::unwatch_line(LineWatcher& watcher) {
    const auto watch =
        std::find_if(watches_.begin(), watches_.end(), [&](const Watch& w) { return w.watcher == &watcher; });
    if (watch == watches_.end()) return;
    const u64 frame = watch->line / page_bytes;
    watches_.erase(watch);
    if (watcher_ != nullptr) watcher_->code_overwritten(frame, 0);  // marks anew what holds code
    else clear_code(frame * page_bytes);
}

// Only pages that are not all zeros are kept: {frame index, contents}..., ended by the number of frames.
void PhysicalMemory::visit(Archive& archive) {
    archive.section("ram", 1);
    u64 size = ram_bytes_;
    archive.field("bytes", size);
    const u64 frames = ram_bytes_ / page_bytes;
    const auto page = [this](u64 frame) {
        const u64 offset = frame * page_bytes;
        return offset < low_bytes_ ? low_ + offset : high_ + (offset - low_bytes_);
    };
    if (archive.mode() != Archive::Mode::load) {
        for (u64 frame = 0; frame < frames; ++frame) {
            u8* p = page(frame);
            if (all_zero(p)) continue;
            archive.field("frame", frame);
            archive.bytes("contents", p, page_bytes);
        }
        u64 end = frames;
        archive.field("frame", end);
        return;
    }
    // What stays unmentioned is zero: give the memory back to the host.
    if (low_ != nullptr) madvise(low_, low_bytes_, MADV_DONTNEED);
    if (high_ != nullptr) madvise(high_, high_bytes_, MADV_DONTNEED);
    std::fill(code_.begin(), code_.end(), 0);
    for (const Watch& w : watches_) add_code(w.line, watched_lines(w.line));
    while (archive.good()) {
        u64 frame = 0;
        archive.field("frame", frame);
        if (frame >= frames || !archive.good()) break;
        archive.bytes("contents", page(frame), page_bytes);
    }
}

}  // namespace droste
