// SPDX-License-Identifier: Apache-2.0
// String instructions: MOVS, CMPS, SCAS, LODS, STOS, INS, OUTS.
//
// REP runs in chunks: at most 64 bytes, and only elements that start in the pages of the first. A chunk is
// one tick (Outcome::again) and can be followed by an interrupt; its length depends on registers alone, so
// that every engine counts alike. With TF, breakpoints or the monitor trap flag a chunk is one iteration. A fault
// leaves the registers after the completed elements.
#include "cpu/insns/host_flags.h"
#include "cpu/insns/operand_access.h"
#include "cpu/insns/tables.h"
#include "cpu/io.h"

namespace droste {
namespace {

constexpr unsigned es = static_cast<unsigned>(Seg::es);
constexpr u64 chunk_bytes = 64;

bool backward(const Cpu& cpu) { return cpu.rflags & rflags_bits::df; }
u64 counter(Cpu& cpu, const Insn& in) { return cpu.reg(Gpr::rcx) & address_mask(in.asz()); }
u64 offset_of(Cpu& cpu, const Insn& in, Gpr r) { return cpu.reg(r) & address_mask(in.asz()); }

/// Moves rSI or rDI past `n` elements of `size` bytes.
void advance(Cpu& cpu, const Insn& in, Gpr r, u64 n, unsigned size) {
    const u64 distance = n * size;
    set_by_address_size(cpu, in, r, backward(cpu) ? cpu.reg(r) - distance : cpu.reg(r) + distance);
}

/// How many elements from `linear` on start in its page.
u64 starting_in_page(const Cpu& cpu, u64 linear, unsigned size) {
    const u64 at = linear & 0xFFF;
    return backward(cpu) ? at / size + 1 : (0xFFF - at) / size + 1;
}

enum class Streams : u8 { source = 1, destination = 2, both = 3 };
constexpr bool uses(Streams s, Streams which) {
    return static_cast<unsigned>(s) & static_cast<unsigned>(which);
}

u64 chunk_length(Cpu& cpu, const Insn& in, Streams streams, unsigned size) {
    // SDM "Single-Step Exception Condition", "Monitor Trap Flag", "Data Breakpoint Exception Conditions": after each
    // iteration.
    if (cpu.mode & mode_bits::step) return 1;
    u64 n = std::min<u64>(counter(cpu, in), chunk_bytes / size);
    if (uses(streams, Streams::source))
        n = std::min(n, starting_in_page(cpu, cpu.ea_base[in.seg()] + offset_of(cpu, in, Gpr::rsi), size));
    if (uses(streams, Streams::destination))
        n = std::min(n, starting_in_page(cpu, cpu.ea_base[es] + offset_of(cpu, in, Gpr::rdi), size));
    return n;
}

bool source_linear(Cpu& cpu, const Insn& in, u64 size, Access access, u64& linear) {
    return operand_at(cpu, in, offset_of(cpu, in, Gpr::rsi), static_cast<unsigned>(size), access, linear);
}
bool destination_linear(Cpu& cpu, const Insn& in, u64 size, Access access, u64& linear) {
    return cpu.linear_of(es, offset_of(cpu, in, Gpr::rdi), static_cast<unsigned>(size), access, linear);
}
template <class T> bool load_source(Cpu& cpu, const Insn& in, T& v) {
    u64 linear;
    return source_linear(cpu, in, sizeof(T), Access::read, linear) && cpu.load(in.seg(), linear, v);
}
template <class T> bool load_destination(Cpu& cpu, const Insn& in, T& v) {
    u64 linear;
    return destination_linear(cpu, in, sizeof(T), Access::read, linear) && cpu.load(es, linear, v);
}
template <class T> bool store_destination(Cpu& cpu, const Insn& in, T v) {
    u64 linear;
    return destination_linear(cpu, in, sizeof(T), Access::write, linear) && cpu.store(es, linear, v);
}
/// The offsets of `bytes` bytes upwards from rSI or rDI do not wrap.
bool contiguous(Cpu& cpu, const Insn& in, Gpr r, u64 bytes) {
    return offset_of(cpu, in, r) <= address_mask(in.asz()) - (bytes - 1);
}

/// One element: ok, ended (the condition of REPE/REPNE failed after it), or faulted (nothing happened).
enum class Step : u8 { ok, ended, faulted };

/// `element` does one element with its register updates; `bulk(n)` does n elements at once, with register
/// updates of rSI and rDI, or nothing and returns false.
template <class Element, class Bulk>
Outcome repeat(Cpu& cpu, const Insn& in, Streams streams, unsigned size, Element element, Bulk bulk) {
    if (in.rep() == Rep::none) return element() == Step::faulted ? cpu.failed() : Outcome::next;
    u64 left = counter(cpu, in);
    // With 32-bit addresses the repetition clears bits 63:32 of its counter before anything else.
    set_by_address_size(cpu, in, Gpr::rcx, left);
    if (left == 0) return Outcome::next;
    const u64 n = chunk_length(cpu, in, streams, size);
    if (bulk(n)) {
        left -= n;
        set_by_address_size(cpu, in, Gpr::rcx, left);
        return left == 0 ? Outcome::next : Outcome::again;
    }
    for (u64 i = 0; i < n; ++i) {
        const Step step = element();
        if (step == Step::faulted) [[unlikely]] return cpu.failed();
        --left;
        set_by_address_size(cpu, in, Gpr::rcx, left);
        if (step == Step::ended) return Outcome::next;
        if (cpu.iteration_ends) [[unlikely]] break;
    }
    cpu.iteration_ends = false;
    return left == 0 ? Outcome::next : Outcome::again;
}
constexpr auto no_bulk = [](u64) { return false; };

/// A repetition of MOVS or STOS clears bits 63:32 of its pointers with 32-bit addresses before anything else,
/// as all do with the counter.
void cut_pointer(Cpu& cpu, const Insn& in, Gpr r) {
    if (in.rep() != Rep::none && in.asz() == 1) [[unlikely]] set_by_address_size(cpu, in, r, cpu.reg(r));
}

template <class T> Outcome movs(Cpu& cpu, const Insn& in) {
    cut_pointer(cpu, in, Gpr::rsi);
    cut_pointer(cpu, in, Gpr::rdi);
    const auto element = [&] {
        T v;
        if (!load_source(cpu, in, v) || !store_destination(cpu, in, v)) [[unlikely]] return Step::faulted;
        advance(cpu, in, Gpr::rsi, 1, sizeof(T));
        advance(cpu, in, Gpr::rdi, 1, sizeof(T));
        return Step::ok;
    };
    const auto bulk = [&](u64 n) {
        const u64 bytes = n * sizeof(T);
        u64 from, to;
        if (backward(cpu) || !contiguous(cpu, in, Gpr::rsi, bytes) || !contiguous(cpu, in, Gpr::rdi, bytes) ||
            !source_linear(cpu, in, bytes, Access::read, from) ||
            !destination_linear(cpu, in, bytes, Access::write, to))
            return false;
        const u8* source = cpu.bulk(from, bytes, Access::read);
        if (source == nullptr) return false;
        u8* destination = cpu.bulk(to, bytes, Access::write);
        if (destination == nullptr) return false;
        // A destination just above its source repeats the source's first bytes, element by element.
        if (destination > source && destination < source + bytes) {
            for (u64 i = 0; i < bytes; i += sizeof(T)) {
                T v;
                std::memcpy(&v, source + i, sizeof v);
                std::memcpy(destination + i, &v, sizeof v);
            }
        } else {
            std::memmove(destination, source, bytes);
        }
        advance(cpu, in, Gpr::rsi, n, sizeof(T));
        advance(cpu, in, Gpr::rdi, n, sizeof(T));
        return true;
    };
    return repeat(cpu, in, Streams::both, sizeof(T), element, bulk);
}

template <class T> Outcome stos(Cpu& cpu, const Insn& in) {
    cut_pointer(cpu, in, Gpr::rdi);
    const T v = cpu.reg<T>(0u);
    const auto element = [&] {
        if (!store_destination(cpu, in, v)) [[unlikely]] return Step::faulted;
        advance(cpu, in, Gpr::rdi, 1, sizeof(T));
        return Step::ok;
    };
    const auto bulk = [&](u64 n) {
        const u64 bytes = n * sizeof(T);
        u64 to;
        if (backward(cpu) || !contiguous(cpu, in, Gpr::rdi, bytes) ||
            !destination_linear(cpu, in, bytes, Access::write, to))
            return false;
        u8* destination = cpu.bulk(to, bytes, Access::write);
        if (destination == nullptr) return false;
        for (u64 i = 0; i < bytes; i += sizeof(T)) std::memcpy(destination + i, &v, sizeof v);
        advance(cpu, in, Gpr::rdi, n, sizeof(T));
        return true;
    };
    return repeat(cpu, in, Streams::destination, sizeof(T), element, bulk);
}

template <class T> Outcome lods(Cpu& cpu, const Insn& in) {
    const auto element = [&] {
        T v;
        if (!load_source(cpu, in, v)) [[unlikely]] return Step::faulted;
        cpu.set_reg<T>(0, v);
        advance(cpu, in, Gpr::rsi, 1, sizeof(T));
        return Step::ok;
    };
    return repeat(cpu, in, Streams::source, sizeof(T), element, no_bulk);
}

/// Whether REPE or REPNE goes on after a comparison.
Step compared(const Cpu& cpu, const Insn& in) {
    return bool(cpu.flags & flag_image::zf) == (in.rep() == Rep::rep) ? Step::ok : Step::ended;
}
/// SDM "REP": a fault in the middle leaves the flags as they were before the instruction; so do chunks, that
/// a fault in a later one finds them.
Outcome with_flags_at_end(Cpu& cpu, u16 before, Outcome outcome) {
    if (outcome != Outcome::next) cpu.flags = before;
    return outcome;
}

template <class T> Outcome cmps(Cpu& cpu, const Insn& in) {
    const u16 before = cpu.flags;
    const auto element = [&] {
        T a, b;
        if (!load_destination(cpu, in, b) || !load_source(cpu, in, a)) [[unlikely]] return Step::faulted;
        (void)host::binary<host::Alu::cmp, T>(cpu.flags, a, b);
        advance(cpu, in, Gpr::rsi, 1, sizeof(T));
        advance(cpu, in, Gpr::rdi, 1, sizeof(T));
        return compared(cpu, in);
    };
    return with_flags_at_end(cpu, before, repeat(cpu, in, Streams::both, sizeof(T), element, no_bulk));
}

template <class T> Outcome scas(Cpu& cpu, const Insn& in) {
    const u16 before = cpu.flags;
    const T a = cpu.reg<T>(0u);
    const auto element = [&] {
        T b;
        if (!load_destination(cpu, in, b)) [[unlikely]] return Step::faulted;
        (void)host::binary<host::Alu::cmp, T>(cpu.flags, a, b);
        advance(cpu, in, Gpr::rdi, 1, sizeof(T));
        return compared(cpu, in);
    };
    return with_flags_at_end(cpu, before, repeat(cpu, in, Streams::destination, sizeof(T), element, no_bulk));
}

// ---- INS, OUTS: every element is a tick

/// Asks VMX. True: go on natively, or with the value that VMX gave (`done`).
bool vmx_allows(Cpu& cpu, const Insn& in, const IoAccess& access, Decision& decision, Outcome& outcome) {
    decision = {};
    if (!cpu.gates.closed(Gate::io)) return true;
    cpu.rip = cpu.insn_rip(in);
    decision = cpu.hooks->io(access, in);
    if (decision.kind == Decision::Kind::exited) {
        outcome = Outcome::vm_exit;
        return false;
    }
    if (decision.kind == Decision::Kind::fault) {
        outcome = cpu.gp0();
        return false;
    }
    return true;
}

IoAccess string_access(Cpu& cpu, const Insn& in, unsigned size, bool input) {
    IoAccess a;
    a.port = cpu.reg<u16>(2u);
    a.size = static_cast<u8>(size);
    a.in = input;
    a.string = true;
    a.rep = in.rep() != Rep::none;
    a.segment = static_cast<u8>(input ? es : in.seg());
    a.address_size = static_cast<u8>(in.asz());
    const u64 linear = cpu.ea_base[a.segment] + offset_of(cpu, in, input ? Gpr::rdi : Gpr::rsi);
    a.linear = cpu.code64() ? linear : linear & 0xFFFFFFFF;
    return a;
}

Outcome after_element(Cpu& cpu, const Insn& in) {
    if (in.rep() == Rep::none) return Outcome::next;
    const u64 left = counter(cpu, in) - 1;
    set_by_address_size(cpu, in, Gpr::rcx, left);
    return left == 0 ? Outcome::next : Outcome::again;
}

template <class T> Outcome ins(Cpu& cpu, const Insn& in) {
    if (in.rep() != Rep::none && counter(cpu, in) == 0) return Outcome::next;
    const IoAccess access = string_access(cpu, in, sizeof(T), true);
    if (!io_permitted(cpu, access.port, sizeof(T))) return cpu.failed();
    Decision decision;
    Outcome outcome;
    if (!vmx_allows(cpu, in, access, decision, outcome)) return outcome;
    u64 linear;
    // Probed first: a port that is read has often changed by that.
    if (!destination_linear(cpu, in, sizeof(T), Access::write, linear) ||
        !cpu.probe_write(es, linear, sizeof(T)))
        return cpu.failed();
    const T v = static_cast<T>(
        decision.kind == Decision::Kind::done ? decision.value : port_read(cpu, access.port, sizeof(T)));
    if (!cpu.store(es, linear, v)) return cpu.failed();
    advance(cpu, in, Gpr::rdi, 1, sizeof(T));
    cpu.charge(CostEvent::port_io);
    return after_element(cpu, in);
}

template <class T> Outcome outs(Cpu& cpu, const Insn& in) {
    if (in.rep() != Rep::none && counter(cpu, in) == 0) return Outcome::next;
    const IoAccess access = string_access(cpu, in, sizeof(T), false);
    if (!io_permitted(cpu, access.port, sizeof(T))) return cpu.failed();
    Decision decision;
    Outcome outcome;
    if (!vmx_allows(cpu, in, access, decision, outcome)) return outcome;
    T v;
    if (!load_source(cpu, in, v)) return cpu.failed();
    if (decision.kind != Decision::Kind::done) port_write(cpu, access.port, sizeof(T), v);
    advance(cpu, in, Gpr::rsi, 1, sizeof(T));
    cpu.charge(CostEvent::port_io);
    return after_element(cpu, in);
}

template <Body b, Body w, Body d, Body q> consteval Bodies sizes() {
    constexpr std::array<Code, 4> c{code<b>(), code<w>(), code<d>(), code<q>()};
    return {c, c};
}
constexpr Bodies movs_sizes = sizes<movs<u8>, movs<u16>, movs<u32>, movs<u64>>();
constexpr Bodies cmps_sizes = sizes<cmps<u8>, cmps<u16>, cmps<u32>, cmps<u64>>();
constexpr Bodies stos_sizes = sizes<stos<u8>, stos<u16>, stos<u32>, stos<u64>>();
constexpr Bodies lods_sizes = sizes<lods<u8>, lods<u16>, lods<u32>, lods<u64>>();
constexpr Bodies scas_sizes = sizes<scas<u8>, scas<u16>, scas<u32>, scas<u64>>();
constexpr Bodies ins_sizes = sizes<ins<u8>, ins<u16>, ins<u32>, ins<u32>>();
constexpr Bodies outs_sizes = sizes<outs<u8>, outs<u16>, outs<u32>, outs<u32>>();

constexpr u32 port = traits::rep | traits::ends_block | traits::not_user_fuzzed;

constexpr InsnRow rows[] = {
    // clang-format off
    {"MOVS", "A4"_op, "=Yb, Xb"_operands, movs_sizes, Feature::base, traits::rep, "r:D"_flags},
    {"MOVS", "A5"_op, "=Yv, Xv"_operands, movs_sizes, Feature::base, traits::rep, "r:D"_flags},
    {"CMPS", "A6"_op, "Xb, Yb"_operands, cmps_sizes, Feature::base, traits::rep, "w:OSZAPC r:D"_flags},
    {"CMPS", "A7"_op, "Xv, Yv"_operands, cmps_sizes, Feature::base, traits::rep, "w:OSZAPC r:D"_flags},
    {"STOS", "AA"_op, "=Yb, AL"_operands, stos_sizes, Feature::base, traits::rep, "r:D"_flags},
    {"STOS", "AB"_op, "=Yv, rAX"_operands, stos_sizes, Feature::base, traits::rep, "r:D"_flags},
    {"LODS", "AC"_op, "=AL, Xb"_operands, lods_sizes, Feature::base, traits::rep, "r:D"_flags},
    {"LODS", "AD"_op, "=rAX, Xv"_operands, lods_sizes, Feature::base, traits::rep, "r:D"_flags},
    {"SCAS", "AE"_op, "AL, Yb"_operands, scas_sizes, Feature::base, traits::rep, "w:OSZAPC r:D"_flags},
    {"SCAS", "AF"_op, "rAX, Yv"_operands, scas_sizes, Feature::base, traits::rep, "w:OSZAPC r:D"_flags},
    {"INS", "6C"_op, "=Yb, DX"_operands, ins_sizes, Feature::base, port, "r:D"_flags},
    {"INS", "6D"_op, "=Yz, DX"_operands, ins_sizes, Feature::base, port, "r:D"_flags},
    {"OUTS", "6E"_op, "DX, Xb"_operands, outs_sizes, Feature::base, port, "r:D"_flags},
    {"OUTS", "6F"_op, "DX, Xz"_operands, outs_sizes, Feature::base, port, "r:D"_flags},
    // clang-format on
};

}  // namespace

RowSpan string_rows() { return rows; }

}  // namespace droste
