// SPDX-License-Identifier: Apache-2.0
// Stacks of transfers between privilege levels: written before they are loaded, read before they are popped.
#pragma once
#include "cpu/segmentation.h"

namespace droste {

/// Whose privilege the accesses have.
enum class StackPrivilege : u8 { current, inner /* a level below the present one: supervisor */ };

/// Pushes without changing a register; the caller commits sp() when all has succeeded.
class StackWriter {
public:
    /// The present stack.
    StackWriter(Cpu& cpu, u32 error_code)
        : StackWriter(cpu, cpu.segment(Seg::ss), cpu.reg(Gpr::rsp), cpu.stack_mask, cpu.code64(),
                      StackPrivilege::current, error_code) {}
    /// @param long64 the transfer leads to 64-bit code: no base, no limit
    /// @param error_code of #SS when the stack has no room
    StackWriter(Cpu& cpu, const Segment& ss, u64 sp, u64 mask, bool long64, StackPrivilege privilege,
                u32 error_code)
        : cpu_(cpu), ss_(ss), sp_(sp), mask_(mask), long64_(long64), privilege_(privilege),
          error_code_(error_code) {}

    bool push(u64 value, unsigned size) {
        const u64 sp = (sp_ - size) & mask_;
        u64 linear = sp;
        if (long64_) {
            if (!canonical(cpu_, sp)) return refuse(cpu_, Vector::ss, error_code_);
        } else {
            if (!within_limit(ss_, sp, size)) return refuse(cpu_, Vector::ss, error_code_);
            linear = (ss_.base + sp) & 0xFFFFFFFF;
        }
        const bool ok = size == 8   ? write(linear, value)
                        : size == 4 ? write(linear, static_cast<u32>(value))
                                    : write(linear, static_cast<u16>(value));
        if (ok) sp_ = (sp_ & ~mask_) | sp;
        return ok;
    }
    u64 sp() const { return sp_; }

private:
    template <class T> bool write(u64 linear, T v) {
        if (privilege_ == StackPrivilege::inner) return cpu_.store_system(linear, v);
        return cpu_.store(static_cast<unsigned>(Seg::ss), linear, v);
    }
    Cpu& cpu_;
    const Segment ss_;
    u64 sp_;
    const u64 mask_;
    const bool long64_;
    const StackPrivilege privilege_;
    const u32 error_code_;
};

/// Pops from the present stack without changing a register.
class StackReader {
public:
    explicit StackReader(Cpu& cpu) : cpu_(cpu), sp_(cpu.reg(Gpr::rsp) & cpu.stack_mask) {}
    bool pop(u64& value, unsigned size) {
        constexpr unsigned ss = static_cast<unsigned>(Seg::ss);
        u64 linear;
        if (!cpu_.linear_of(ss, sp_, size, Access::read, linear)) return false;
        bool ok;
        if (size == 8) {
            ok = cpu_.load(ss, linear, value);
        } else if (size == 4) {
            u32 v = 0;
            ok = cpu_.load(ss, linear, v);
            value = v;
        } else {
            u16 v = 0;
            ok = cpu_.load(ss, linear, v);
            value = v;
        }
        if (ok) skip(size);
        return ok;
    }
    void skip(u64 bytes) { sp_ = (sp_ + bytes) & cpu_.stack_mask; }
    u64 sp() const { return sp_; }

private:
    Cpu& cpu_;
    u64 sp_;
};

/// SS:rSP of level `cpl` from the TSS; #TS. In IA-32e mode only the pointer is there: `ss` becomes null |
/// cpl.
bool inner_stack(Cpu& cpu, unsigned cpl, u32 ext, u16& ss, u64& sp);
/// Entry `ist` (1..7) of the 64-bit TSS's interrupt stack table.
bool interrupt_stack(Cpu& cpu, unsigned ist, u32 ext, u64& sp);

}  // namespace droste
