// SPDX-License-Identifier: Apache-2.0
// Execution of fuzz cases on both sides, comparison, and the report of a difference.
#include "host_fuzz.h"

#include <capstone/capstone.h>
#include <cpuid.h>
#include <fmt/format.h>

namespace droste::test {

namespace {

constexpr u64 data_phys = 0x200000, code_phys = 0x210000;

constexpr u64 compared_flags = rflags_bits::arithmetic | rflags_bits::df | rflags_bits::if_ |
                               rflags_bits::iopl | rflags_bits::nt | rflags_bits::ac | rflags_bits::id;

}  // namespace

bool host_has(Feature f) {
    if (f == Feature::base) return true;
    const FeatureRow& row = feature_rows()[static_cast<std::size_t>(f) - 1];
    std::array<u32, 4> r{};
    if (!__get_cpuid_count(row.leaf, row.subleaf, &r[0], &r[1], &r[2], &r[3])) return false;
    return bit(r[static_cast<unsigned>(row.reg)], row.bit);
}

HostFuzz::HostFuzz(CodeSize size)
    : size_(size), machine_(std::make_unique<TestMachine>(TestMachine::Mode::long64, u8{3})),
      generator_(machine_->isa, size, {host_.fs_base(), host_.gs_base()}) {
    Cpu& cpu = machine_->cpu;
    machine_->unmap_all();
    for (u64 i = 0; i < HostCpu::data_size; i += 0x1000) machine_->map(HostCpu::data + i, data_phys + i);
    machine_->map(HostCpu::code, code_phys, 5);
    std::memset(machine_->memory.host(code_phys), 0xCC, HostCpu::code_size);
    emulated_memory_ = machine_->memory.host(data_phys);
    cpu.segment(Seg::fs).base = host_.fs_base();
    cpu.segment(Seg::gs).base = host_.gs_base();
    if (size != CodeSize::bits64) {  // compatibility mode, as on the host
        const bool is16 = size == CodeSize::bits16;
        cpu.segment(Seg::cs).access = (cpu.segment(Seg::cs).access & ~0x6000u) | (is16 ? 0 : 0x4000u);
        if (is16) {
            cpu.segment(Seg::cs).base = HostCpu::code;
            cpu.segment(Seg::cs).limit = HostCpu::limit16_code;
            for (const Seg s : {Seg::ss, Seg::ds, Seg::es}) {
                cpu.segment(s).base = HostCpu::data;
                cpu.segment(s).limit = HostCpu::limit16_data;
                cpu.segment(s).access &= ~0x4000u;
            }
        }
    }
    cpu.cr4 |= cr4_bits::osxsave;
    cpu.xcr0 = 7 | (host_.components() & 0xE0) | (host_.has_tiles() ? 3u << 17 : 0);
    cpu.context_changed();
    ASSERT(cpu.mode == generator_.mode());
}

HostFuzz::Result HostFuzz::run_host(const FuzzCase& c) {
    Result r;
    r.state = c.state;
    std::memcpy(host_.memory(), initial_.data(), initial_.size());
    if (c.tiles) r.tiles = std::make_shared<TileImage>(*c.tiles);
    r.event = host_.execute(std::span(c.bytes).first(c.len), size_, c.vector, c.branch, r.state, r.tiles.get());
    // A branch to where nothing is mapped has happened; the fetch that follows is not the instruction's.
    const u64 linear = r.state.rip + (size_ == CodeSize::bits16 ? HostCpu::code : 0);
    if (c.branch && r.event.vector == 14 && (r.event.error_code & 16) && r.event.address == linear)
        r.event = {};
    return r;
}

HostFuzz::Result HostFuzz::run_emulated(const FuzzCase& c) {
    Cpu& cpu = machine_->cpu;
    std::memcpy(emulated_memory_, initial_.data(), initial_.size());
    std::copy(c.state.gpr.begin(), c.state.gpr.end(), cpu.gpr.begin());
    cpu.flags = flag_image::from_rflags(c.state.rflags);
    cpu.rflags = (c.state.rflags & ~rflags_bits::arithmetic) | rflags_bits::fixed1;
    cpu.rip = HostCpu::insn - (size_ == CodeSize::bits16 ? HostCpu::code : 0);
    if (c.vector) {
        const VectorImage& v = c.state.vector;
        cpu.fx.fcw = v.fcw; cpu.fx.fsw = v.fsw; cpu.fx.ftw = v.ftw; cpu.fx.fop = v.fop;
        cpu.fx.fip = v.fip; cpu.fx.fdp = v.fdp; cpu.fx.mxcsr = v.mxcsr;
        cpu.fx.st = v.st;
        VectorImage from = v;
        for (unsigned i = 0; i < 32; ++i)
            for (unsigned k = 0; k < 8; ++k) cpu.vec[i].q[k] = from.quad(i, k);
        cpu.opmask = v.opmask;
    }
    if (c.tiles) {
        cpu.amx.config = c.tiles->config;
        cpu.amx.tile = c.tiles->tile;
    }
    cpu.memory_fault = {};
    Result r;
    const Outcome outcome = machine_->execute(c.decoded);
    if (spoil != nullptr) spoil(cpu);
    if (outcome == Outcome::fault) {
        const Fault f = cpu.pending_fault;
        r.event.vector = static_cast<int>(f.vector());
        r.event.error_code = f.has_code() ? f.code() : 0;
        if (f.vector() == Vector::pf) r.event.address = cpu.memory_fault.linear.value;
    }
    std::copy_n(cpu.gpr.begin(), 16, r.state.gpr.begin());
    r.state.rip = cpu.rip;
    r.state.rflags = cpu.read_rflags();
    if (c.vector) {
        VectorImage& v = r.state.vector;
        v.fcw = cpu.fx.fcw; v.fsw = cpu.fx.fsw; v.ftw = cpu.fx.ftw; v.fop = cpu.fx.fop;
        v.fip = cpu.fx.fip; v.fdp = cpu.fx.fdp; v.mxcsr = cpu.fx.mxcsr;
        v.st = cpu.fx.st;
        for (unsigned i = 0; i < 32; ++i)
            for (unsigned k = 0; k < 8; ++k) v.quad(i, k) = cpu.vec[i].q[k];
        v.opmask = cpu.opmask;
    }
    if (c.tiles) {
        r.tiles = std::make_shared<TileImage>();
        r.tiles->config = cpu.amx.config;
        r.tiles->tile = cpu.amx.tile;
    }
    return r;
}

std::string HostFuzz::compare(const FuzzCase& c, Result& host, Result& emulated) {
    const UserState &h = host.state, &e = emulated.state;
    // The host's kernel is mapped where the emulated machine has nothing.
    if (host.event.vector == 14 && (host.event.address >> 63)) host.event.error_code &= ~1u;
    const std::string_view name = c.decoded.row->mnemonic;
    const bool page_fault = host.event.vector == 14;
    // SDM "MASKMOVDQU": which faults a masked-out byte causes, and in which order, depends on the
    // implementation.
    if (page_fault && name.find("MASKMOV") != std::string_view::npos && !name.starts_with("VMASKMOVP") &&
        !name.starts_with("VPMASKMOV"))
        return {};
    if (!(host.event == emulated.event)) return "event";
    const unsigned registers = size_ == CodeSize::bits64 ? 16 : 8;
    const u64 mask = size_ == CodeSize::bits64 ? ~0ull : 0xFFFFFFFF;
    for (unsigned i = 0; i < registers; ++i)
        if ((h.gpr[i] ^ e.gpr[i]) & mask) return "register";
    if (h.rip != e.rip) return "rip";
    if ((h.rflags ^ e.rflags) & compared_flags) return "flags";
    if (std::memcmp(host_.memory(), emulated_memory_, HostCpu::data_size) != 0) return "memory";
    if (!c.vector) return {};
    if (c.tiles) {
        if (host.tiles->config != emulated.tiles->config) return "tile configuration";
        if (host.tiles->tile != emulated.tiles->tile) return "tile";
    }
    const VectorImage &v = h.vector, &w = e.vector;
    if (v.mxcsr != w.mxcsr) return "mxcsr";
    if (std::memcmp(&v.xmm, &w.xmm, sizeof v.xmm) != 0) return "xmm";
    if (std::memcmp(&v.ymm_high, &w.ymm_high, sizeof v.ymm_high) != 0) return "ymm";
    if (host_.components() & 0xE0) {
        if (v.opmask != w.opmask) return "opmask";
        if (v.zmm_high != w.zmm_high) return "zmm";
        if (v.zmm16 != w.zmm16) return "zmm16";
    }
    if (v.fcw != w.fcw) return "fcw";
    if (v.fsw != w.fsw) return "fsw";
    if (v.ftw != w.ftw) return "ftw";
    for (unsigned i = 0; i < 8; ++i)
        if (std::memcmp(&v.st[i], &w.st[i], 10) != 0) return "st";
    if (c.decoded.row->domain == Domain::x87) {
        if (v.fop != w.fop) return "fop";
        if (v.fip != w.fip) return "fip";
        if (v.fdp != w.fdp) return "fdp";
    }
    return {};
}

std::string HostFuzz::disassemble(const FuzzCase& c) const {
    csh handle;
    const cs_mode mode = size_ == CodeSize::bits64   ? CS_MODE_64
                         : size_ == CodeSize::bits32 ? CS_MODE_32
                                                     : CS_MODE_16;
    if (cs_open(CS_ARCH_X86, mode, &handle) != CS_ERR_OK) return "?";
    cs_insn* insn = nullptr;
    const std::size_t n = cs_disasm(handle, c.bytes.data(), c.len, HostCpu::insn, 1, &insn);
    std::string text = n == 1 ? fmt::format("{} {}", insn->mnemonic, insn->op_str) : "?";
    if (n > 0) cs_free(insn, n);
    cs_close(&handle);
    return text;
}

std::string HostFuzz::report(const FuzzCase& c, const Result& host, const Result& emulated,
                             const std::string& what) {
    std::string s = fmt::format("{} differs: {} |", what, c.decoded.row->mnemonic);
    for (unsigned i = 0; i < c.len; ++i) s += fmt::format(" {:02X}", c.bytes[i]);
    s += fmt::format(" | {}\n", disassemble(c));
    const auto event_text = [](const HostEvent& e) {
        return e.vector < 0 ? std::string("none")
                            : fmt::format("#{} code {:x} address {:x}", e.vector, e.error_code, e.address);
    };
    s += fmt::format("  event: host {} | emulated {}\n", event_text(host.event), event_text(emulated.event));
    s += fmt::format("  {:>8} {:>33} {:>33} {:>33}\n", "", "before", "host", "emulated");
    const auto line = [&](const std::string& name, u64 before, u64 h, u64 e, u64 mask = ~0ull) {
        if (before == h && h == e && c.vector) return;
        s += fmt::format("{} {:>8} {:>33x} {:>33x} {:>33x}\n", ((h ^ e) & mask) ? '*' : ' ', name, before, h,
                         e);
    };
    const auto wide = [&](const std::string& name, u64 b1, u64 b0, u64 h1, u64 h0, u64 e1, u64 e0) {
        if (b1 == h1 && h1 == e1 && b0 == h0 && h0 == e0 && name[0] == 'y') return;
        s += fmt::format("{} {:>8} {:016x}_{:016x} {:016x}_{:016x} {:016x}_{:016x}\n",
                         h1 != e1 || h0 != e0 ? '*' : ' ', name, b1, b0, h1, h0, e1, e0);
    };
    constexpr const char* names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                     "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    for (unsigned i = 0; i < (size_ == CodeSize::bits64 ? 16u : 8u); ++i)
        line(names[i], c.state.gpr[i], host.state.gpr[i], emulated.state.gpr[i]);
    line("rip", HostCpu::insn, host.state.rip, emulated.state.rip);
    line("rflags", c.state.rflags, host.state.rflags, emulated.state.rflags, compared_flags);
    if (c.vector) {
        const VectorImage &b = c.state.vector, &h = host.state.vector, &e = emulated.state.vector;
        line("mxcsr", b.mxcsr, h.mxcsr, e.mxcsr);
        line("fcw", b.fcw, h.fcw, e.fcw);
        line("fsw", b.fsw, h.fsw, e.fsw);
        line("ftw", b.ftw, h.ftw, e.ftw);
        line("fop", b.fop, h.fop, e.fop);
        line("fip", b.fip, h.fip, e.fip);
        line("fdp", b.fdp, h.fdp, e.fdp);
        if (c.decoded.row->domain == Domain::x87 || c.decoded.row->domain == Domain::mmx)
            for (unsigned i = 0; i < 8; ++i) {
                const auto part = [&](const VectorImage& v, unsigned at) {
                    u64 x = 0;
                    std::memcpy(&x, &v.st[i][at], at == 0 ? 8 : 2);
                    return x;
                };
                wide(fmt::format("st{}", i), part(b, 8), part(b, 0), part(h, 8), part(h, 0), part(e, 8),
                     part(e, 0));
            }
        if (c.decoded.row->domain != Domain::x87)
            for (unsigned i = 0; i < 16; ++i) {
                wide(fmt::format("xmm{}", i), b.xmm[i][1], b.xmm[i][0], h.xmm[i][1], h.xmm[i][0], e.xmm[i][1],
                     e.xmm[i][0]);
                wide(fmt::format("ymmh{}", i), b.ymm_high[i][1], b.ymm_high[i][0], h.ymm_high[i][1],
                     h.ymm_high[i][0], e.ymm_high[i][1], e.ymm_high[i][0]);
            }
    }
    if (c.tiles) {
        const auto quad = [](const std::array<u8, 64>& a, unsigned at) {
            u64 v;
            std::memcpy(&v, &a[at], 8);
            return v;
        };
        for (unsigned i = 0; i < 64; i += 8)
            line(fmt::format("cfg{}", i), quad(c.tiles->config, i), quad(host.tiles->config, i),
                 quad(emulated.tiles->config, i));
        for (unsigned t = 0; t < 8; ++t)
            for (unsigned i = 0; i < 1024; i += 4) {
                u32 b, h, e;
                std::memcpy(&b, &c.tiles->tile[t][i], 4);
                std::memcpy(&h, &host.tiles->tile[t][i], 4);
                std::memcpy(&e, &emulated.tiles->tile[t][i], 4);
                if (h != e) line(fmt::format("t{}.{}.{}", t, i / 64, i % 64), b, h, e);
            }
    }
    if (c.decoded.row->domain == Domain::avx512 || c.decoded.row->domain == Domain::avx) {
        VectorImage b = c.state.vector, h = host.state.vector, e = emulated.state.vector;
        for (unsigned i = 0; i < 8; ++i) line(fmt::format("k{}", i), b.opmask[i], h.opmask[i], e.opmask[i]);
        for (unsigned i = 0; i < 32; ++i)
            for (unsigned k = i < 16 ? 4 : 0; k < 8; k += 2)
                wide(fmt::format("y{}.{}", i, k), b.quad(i, k + 1), b.quad(i, k), h.quad(i, k + 1), h.quad(i, k),
                     e.quad(i, k + 1), e.quad(i, k));
    }
    unsigned shown = 0;
    for (u64 at = 0; at < HostCpu::data_size && shown < 16; at += 8) {
        u64 b, h, e;
        std::memcpy(&b, &initial_[at], 8);
        std::memcpy(&h, host_.memory() + at, 8);
        std::memcpy(&e, emulated_memory_ + at, 8);
        const u64 address = HostCpu::data + at;
        const bool near = address + 8 > c.operand && address < c.operand + 16;
        if (b == h && h == e && !near) continue;
        ++shown;
        s += fmt::format("{} {:x} {:>33x} {:>33x} {:>33x}\n", h != e ? '*' : ' ', address, b, h, e);
    }
    return s;
}

std::string HostFuzz::check_row(const InsnRow& row, u64 seed, unsigned count) {
    const u64 row_seed =
        seed ^ (std::hash<std::string_view>{}(row.mnemonic) * 31 + row.encoding.opcode * 977u +
                row.encoding.map * 7919u + static_cast<u64>(row.encoding.pp) * 104729u);
    Random noise(row_seed);
    for (std::size_t i = 0; i < background_.size(); i += 8) {
        const u64 v = noise.value();
        std::memcpy(&background_[i], &v, 8);
    }
    FuzzCase c;
    unsigned made = 0;
    for (unsigned i = 0; made < count && i < 4 * count + 64; ++i) {
        Random random(row_seed + i * 0x632BE59BD9B4E019ull);
        if (!generator_.make(row, random, c)) {
            ++tally.rejected;
            continue;
        }
        ++made;
        ++tally.cases;
        initial_ = background_;
        const u64 first = std::max(c.operand - FuzzCase::before_operand, HostCpu::data);
        for (u64 a = first; a < c.operand + c.memory.size() - FuzzCase::before_operand; ++a)
            if (a - HostCpu::data < HostCpu::data_size)
                initial_[a - HostCpu::data] = c.memory[a - c.operand + FuzzCase::before_operand];
        Result host = run_host(c);
        Result emulated = run_emulated(c);
        tally.faults += host.event.vector >= 0;
        const std::string what = compare(c, host, emulated);
        if (!what.empty())
            return fmt::format("seed {:#x} case {}: {}", seed, i, report(c, host, emulated, what));
    }
    if (made == 0)
        return fmt::format("{} {:02X}: no instance could be made", row.mnemonic, row.encoding.opcode);
    return {};
}

}  // namespace droste::test
