// SPDX-License-Identifier: Apache-2.0
// Segment loads with all checks (SDM "Protection", the pseudocode of MOV, POP and LSS).
#include "cpu/segmentation.h"

namespace droste {

bool canonical(const Cpu& cpu, u64 linear) {
    // CR4.LA57 and not the model alone decides the width ("5-Level Paging and 5-Level EPT").
    return sign_extend(linear, (cpu.cr4 & cr4_bits::la57) ? 57 : 48) == linear;
}

bool holds_linear_address(const Cpu& cpu, u64 value) {
    return sign_extend(value, cpu.model.linear_bits) == value;
}

bool within_limit(const Segment& s, u64 offset, unsigned size) {
    const u64 last = offset + size - 1;
    if (!s.system() && (s.type() & 0xC) == 4) {  // expand-down data
        const u64 top = s.db() ? 0xFFFFFFFF : 0xFFFF;
        return offset > s.limit && last <= top;
    }
    return last <= s.limit;
}

bool in_table(const Cpu& cpu, u16 selector, unsigned size) {
    const u32 last = (selector & 0xFFF8u) + size - 1;
    if (!in_ldt(selector)) return last <= cpu.gdtr.limit;
    const Segment& ldtr = cpu.segment(Seg::ldtr);
    return !ldtr.unusable() && !null_selector(ldtr.selector) && last <= ldtr.limit;
}

bool read_descriptor(Cpu& cpu, u16 selector, Vector on_fail, u32 ext, DescriptorAt& out) {
    if (!in_table(cpu, selector, 8)) return refuse(cpu, on_fail, selector_error(selector, ext));
    out.address = (in_ldt(selector) ? cpu.segment(Seg::ldtr).base : cpu.gdtr.base) + (selector & 0xFFF8u);
    out.d.high = 0;
    return cpu.load_system(out.address, out.d.low);
}

bool read_system_descriptor(Cpu& cpu, u16 selector, Vector on_fail, u32 ext, DescriptorAt& out) {
    if (!read_descriptor(cpu, selector, on_fail, ext, out)) return false;
    if (!cpu.long_mode() || !out.d.system()) return true;
    if (!in_table(cpu, selector, 16)) return refuse(cpu, on_fail, selector_error(selector, ext));
    if (!cpu.load_system(out.address + 8, out.d.high)) return false;
    // The type field of the upper half must be 0, so that no half of it can be used as a descriptor of its
    // own.
    if (bits(out.d.high, 44, 40) != 0) return refuse(cpu, on_fail, selector_error(selector, ext));
    return true;
}

bool mark_accessed(Cpu& cpu, DescriptorAt& at) {
    if (bit(at.d.low, 40)) return true;
    at.d.low |= 1ull << 40;
    return cpu.store_system(at.address + 5, static_cast<u8>(bits(at.d.low, 47, 40)));
}

bool set_busy(Cpu& cpu, u64 address, bool busy) {
    u8 access = 0;
    if (!cpu.load_system(address + 5, access)) return false;
    return cpu.store_system(address + 5, static_cast<u8>(busy ? access | 2 : access & ~2));
}

bool check_data_segment(Cpu& cpu, u16 selector, unsigned cpl, Vector on_type, u32 ext, DescriptorAt& out) {
    if (!read_descriptor(cpu, selector, on_type, ext, out)) return false;
    const Descriptor& d = out.d;
    const bool privileged_enough = d.conforming() || (rpl(selector) <= d.dpl() && cpl <= d.dpl());
    if (!d.readable() || !privileged_enough) return refuse(cpu, on_type, selector_error(selector, ext));
    if (!d.present()) return refuse(cpu, Vector::np, selector_error(selector, ext));
    return true;
}

bool check_stack_segment(Cpu& cpu, u16 selector, unsigned cpl, Vector on_type, u32 ext, DescriptorAt& out) {
    if (!read_descriptor(cpu, selector, on_type, ext, out)) return false;
    const Descriptor& d = out.d;
    if (rpl(selector) != cpl || !d.writable_data() || d.dpl() != cpl)
        return refuse(cpu, on_type, selector_error(selector, ext));
    if (!d.present()) return refuse(cpu, Vector::ss, selector_error(selector, ext));
    return true;
}

void set_segment(Cpu& cpu, Seg s, u16 selector, const Descriptor& d) { cpu.segment(s) = d.segment(selector); }

void set_code_segment(Cpu& cpu, u16 selector, const Descriptor& d, unsigned cpl) {
    cpu.segment(Seg::cs) = d.segment(static_cast<u16>((selector & 0xFFFC) | cpl));
    cpu.cpl = static_cast<u8>(cpl);
}

void drop_inner_segments(Cpu& cpu) {
    for (const Seg s : {Seg::es, Seg::ds, Seg::fs, Seg::gs}) {
        Segment& r = cpu.segment(s);
        // A null FS or GS keeps the base that WRMSR gave it.
        if (r.unusable()) continue;
        // So does one with a null selector that a VM entry made usable (KVM does so for its guest
        // hypervisors).
        if ((r.selector & ~3) == 0) {
            r.access |= Segment::unusable_bit;
            continue;
        }
        const bool conforming = (r.type() & 0xC) == 0xC;
        if (!r.system() && (conforming || r.dpl() >= cpu.cpl)) continue;
        // SDM "IRET": the selector becomes null. Processors leave base and limit behind it, and 64-bit mode goes on
        // using those of FS and GS.
        r.selector = 0;
        r.access |= Segment::unusable_bit;
    }
}

bool check_target(Cpu& cpu, const Descriptor& code, u64 offset, u32 ext) {
    if (cpu.long_mode() && code.l()) return canonical(cpu, offset) || refuse(cpu, Vector::gp, ext);
    return offset <= code.limit() || refuse(cpu, Vector::gp, ext);
}

void Cpu::load_segment_real(Seg s, u16 selector) {
    Segment& r = segment(s);
    r.selector = selector;
    r.base = u64(selector) << 4;
    if (v86()) {
        r.limit = 0xFFFF;
        r.access = access_rights::virtual8086;
    } else {
        // Limit, granularity and size survive ("unreal mode"); a load makes the segment present, usable and
        // DPL 0.
        if (r.unusable()) r.limit = 0xFFFF;
        r.access = (r.access & 0xC000) | (s == Seg::cs ? access_rights::code16 : access_rights::data16);
    }
    segments_changed();
}

bool Cpu::load_segment(Seg s, u16 selector) {
    if (real_or_v86()) {
        load_segment_real(s, selector);
        return true;
    }
    if (null_selector(selector)) {
        if (s == Seg::ss) {
            // A null SS is usable in 64-bit mode below CPL 3 only.
            if (!code64() || cpl == 3 || rpl(selector) != cpl) return refuse(*this, Vector::gp, 0);
            segment(s) = null_segment(selector, cpl);
        } else {
            segment(s) = null_segment(selector);
        }
        segments_changed();
        return true;
    }
    DescriptorAt at;
    const bool allowed = s == Seg::ss ? check_stack_segment(*this, selector, cpl, Vector::gp, 0, at)
                                      : check_data_segment(*this, selector, cpl, Vector::gp, 0, at);
    if (!allowed || !mark_accessed(*this, at)) return false;
    set_segment(*this, s, selector, at.d);
    segments_changed();
    return true;
}

}  // namespace droste
