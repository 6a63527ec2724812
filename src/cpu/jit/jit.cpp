// SPDX-License-Identifier: Apache-2.0
// The code cache: stubs between C++ and translated code, entering, linking, forgetting.
#include "cpu/jit/jit.h"

#include <utility>

#include "cpu/block/block_cache.h"
#include "cpu/interp/handlers.h"
#include "cpu/jit/translator.h"

namespace droste {

using namespace jit;

namespace {

constexpr u32 never_translate = ~0u;

u64 jump_slot(u64 linear) { return (linear + ((linear >> 12) << 2)) & (jump_entries - 1); }

}  // namespace

jit::Layout::Layout(const Cpu& cpu) {
    const char* const base = reinterpret_cast<const char*>(static_cast<const CpuState*>(&cpu)) + state_bias;
    const auto distance = [base](const auto& member) {
        return static_cast<i32>(reinterpret_cast<const char*>(&member) - base);
    };
    flags = distance(cpu.flags);
    budget = distance(cpu.budget);
    tlb = distance(cpu.tlb);
    fetch_tlb = distance(cpu.fetch_tlb);
    rip = distance(cpu.rip);
    ea_base = distance(cpu.ea_base);
    page = distance(cpu.translated.page);
    target = distance(cpu.translated.target);
    wanted = distance(cpu.translated.wanted);
    jumps = distance(cpu.translated.jumps);
    watch_bus_locks = distance(cpu.watch_bus_locks);
    self = static_cast<i32>(reinterpret_cast<const char*>(&cpu) - base);
}

Result<std::shared_ptr<Jit>> Jit::make(Cpu& cpu, const Config& config) {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("bmi2"))
        return Error{"engine = \"jit\" needs a host processor with BMI2; set engine = \"interpreter\""};
    auto buffer = CodeBuffer::make(config.cache_bytes);
    if (!buffer) return buffer.error();
    return std::shared_ptr<Jit>(new Jit(cpu, config, std::move(*buffer)));
}

Jit::Jit(Cpu& cpu, const Config& config, CodeBuffer buffer)
    : isa_(cpu.isa), memory_(cpu.memory), blocks_(*cpu.blocks),
      lock_is_free_(cpu.costs[CostEvent::lock] == 0), config_(config), buffer_(std::move(buffer)), layout_(cpu), begin_(buffer_.writable()),
      end_(begin_ + config.cache_bytes), at_(begin_), executable_delta_(buffer_.executable() - begin_),
      jumps_(jump_entries) {
    make_stubs();
    after_stubs_ = at_;
    sites_.push_back({});
}

Jit::~Jit() = default;

void Jit::make_stubs() {
    Assembler a(at_, end_);
    const auto constant = [&a](u64 v) {
        u8* const where = a.here();
        a.word64(v);
        return where;
    };
    masks_ = a.here();
    constant(u64{TlbClass::size - 1} << 12);
    constant(u64{FetchTlb::size - 1} << 12);
    constant(jump_entries - 1);
    constant(1ull << 63);
    u8* const helper = constant(reinterpret_cast<u64>(&Jit::run_body));

    const auto load_all = [&] {
        a.load64(budget_reg, layout_.at(layout_.budget));
        a.lea(budget_reg, {budget_reg, -static_cast<i32>(budget_bias)});
        a.load16(rax, layout_.at(layout_.flags));
        a.byte(0x04);  // add al, 7Fh: OF
        a.byte(0x7F);
        a.sahf();
        for (unsigned g = 0; g < 16; ++g)
            if (host_of(g) != no_reg) a.load64(host_of(g), layout_.gpr(g));
    };
    const auto store_all = [&] {
        for (unsigned g = 0; g < 16; ++g)
            if (host_of(g) != no_reg) a.store64(layout_.gpr(g), host_of(g));
        a.lahf();
        a.seto_al();
        a.store16(layout_.at(layout_.flags), rax);
        a.lea(r13, {budget_reg, static_cast<i32>(budget_bias)});
        a.store64(layout_.at(layout_.budget), r13);
    };
    constexpr Reg saved[] = {rbx, rbp, r12, r13, r14, r15};

    enter_ = reinterpret_cast<void (*)(void*, const u8*)>(
        reinterpret_cast<std::uintptr_t>(executable(a.here())));
    for (const Reg r : saved) a.push(r);
    a.lea(rsp, {rsp, -8});
    a.mov(cpu_reg, rdi);
    a.store64(layout_.at(layout_.target), rsi);
    load_all();
    a.jmp_mem(layout_.at(layout_.target));

    exit_link_w_ = a.here();
    a.store64(layout_.at(layout_.wanted), rcx);
    exit_dispatch_w_ = a.here();
    a.store64(layout_.at(layout_.rip), r10);
    exit_as_is_ = executable(a.here());
    store_all();
    a.lea(rsp, {rsp, 8});
    for (unsigned i = std::size(saved); i-- > 0;) a.pop(saved[i]);
    a.ret();

    body_stub_ = a.here();
    store_all();
    a.lea(rdi, layout_.at(layout_.self));
    a.mov(rsi, r10);
    a.mov32(rdx, rcx);
    a.mov(rcx, r11);
    a.lea(rsp, {rsp, -8});
    a.byte(0xFF);  // call [helper]
    a.byte(0x15);
    a.word32(static_cast<u32>(helper - (a.here() + 4)));
    a.lea(rsp, {rsp, 8});
    Label leave;
    a.op_reg({.w = true, .opcode = 0x85}, rax, rax);
    a.jcc(5, leave);
    load_all();
    a.ret();
    a.bind(leave);
    a.store64(layout_.at(layout_.target), rax);
    load_all();
    a.lea(rsp, {rsp, 8});
    a.jmp_mem(layout_.at(layout_.target));
    ASSERT(!a.full());
    at_ = a.here();
}

void Jit::flush() {
    for (const auto& t : translated_)
        if (t->block != nullptr) t->block->host = nullptr;
    translated_.clear();
    sites_.resize(1);
    std::fill(jumps_.begin(), jumps_.end(), JumpEntry{});
    at_ = after_stubs_;
    ++statistics_.flushes;
}

void Jit::invalidate(Block& b) {
    auto* const t = static_cast<Translated*>(b.host);
    t->code = t->leave;
    for (u32 s = t->incoming; s != 0;) {
        Site& site = sites_[s];
        Assembler::patch32(site.field, site.stub);
        site.linked = false;
        s = std::exchange(site.next, 0);
        ++statistics_.unlinked;
    }
    t->incoming = 0;
    t->block = nullptr;
    b.host = nullptr;
}

Translated* Jit::translate(Block& b) {
    constexpr std::size_t most = 64 << 10;  // of one block
    if (end_ - at_ < static_cast<std::ptrdiff_t>(most)) flush();
    auto t = std::make_unique<Translated>();
    Translator translator(*this, b, *t);
    u8* const start = at_;
    if (!translator.run()) {
        at_ = start;
        return nullptr;
    }
    t->block = &b;
    b.host = t.get();
    translated_.push_back(std::move(t));
    ++statistics_.translated;
    statistics_.host_bytes += static_cast<u64>(at_ - start);
    return translated_.back().get();
}

void Jit::link(const Cpu& cpu, u32 site) {
    if (site >= sites_.size()) return;  // of code that was flushed meanwhile
    Site& s = sites_[site];
    const u64 linear = cpu.ea_base_cs() + cpu.rip;
    const Block* const b = cpu.blocks->find_fast(cpu, linear);
    if (b == nullptr || b->host == nullptr || s.linked) return;
    if ((b->phys & 0xFFF) != s.target || b->phys >> 12 != s.frame || b->mode != s.mode) return;
    auto* const t = static_cast<Translated*>(b->host);
    Assembler::patch32(s.field, begin_ + (t->code - executable(begin_)));
    s.linked = true;
    s.next = t->incoming;
    t->incoming = site;
}

void Jit::remember_jump(u64 linear, const Block& b) {
    jumps_[jump_slot(linear)] = {.negative_linear = 0 - linear,
                                 .mode = b.mode,
                                 .vpn = linear >> 12,
                                 .negative_machine_page = 0 - (b.phys & ~0xFFFull),
                                 .page = linear & ~0xFFFull,
                                 .to = static_cast<const Translated*>(b.host)};
}

bool Jit::run(Cpu& cpu, Block& b) {
    auto* t = static_cast<Translated*>(b.host);
    if (t == nullptr) {
        if (b.exec == never_translate || ++b.exec < config_.threshold) return false;
        t = translate(b);
        if (t == nullptr) {
            b.exec = never_translate;
            return false;
        }
    }
    const u64 linear = cpu.ea_base_cs() + cpu.rip;
    if (b.phys != ~0ull) remember_jump(linear, b);
    if (const u32 site = static_cast<u32>(cpu.translated.wanted); site != 0) link(cpu, site);
    cpu.translated.wanted = 0;
    cpu.translated.page = linear & ~0xFFFull;
    left_at_ = nullptr;
    ++statistics_.entries;
    enter_(reinterpret_cast<char*>(static_cast<CpuState*>(&cpu)) + state_bias, t->code);
    cpu.block = nullptr;
    if (left_at_ != nullptr) {
        const Insn in = *left_at_;
        cpu.finish_instruction(in, left_outcome_);
    }
    return true;
}

const u8* Jit::after_branch(Cpu& cpu) {
    cpu.block = nullptr;
    if (cpu.attention || cpu.budget < budget_bias) return exit_as_is_;
    const u64 linear = cpu.ea_base_cs() + cpu.rip;
    const Block* const b = cpu.blocks->find_fast(cpu, linear);
    if (b == nullptr || b->host == nullptr) return exit_as_is_;
    cpu.translated.page = linear & ~0xFFFull;
    remember_jump(linear, *b);
    return static_cast<const Translated*>(b->host)->code;
}

const u8* Jit::leave_with(Cpu& cpu, Block* b, const Insn& in, Outcome outcome) {
    if (outcome == Outcome::branch) return after_branch(cpu);
    const bool retired = outcome != Outcome::fault && outcome != Outcome::vm_exit;
    cpu.budget += b->n - (&in - b->insn) - (retired ? 1 : 0);
    cpu.block = nullptr;
    left_at_ = &in;
    left_outcome_ = outcome;
    return exit_as_is_;
}

/// What waits, an event that has come near, and the loss of the page's translation (evicted by one for data) are
/// noticed at the end of the block; translated code would run on.
bool Jit::may_go_on(const Cpu& cpu) {
    const u64 page = cpu.translated.page;
    return !cpu.attention && cpu.budget >= budget_bias &&
           cpu.fetch_tlb->entry[FetchTlb::slot(page)].tag + (page >> 12) == 0;
}

const u8* Jit::run_body(Cpu& cpu, Block* b, u32 k, Body body) {
    Jit& self = *cpu.jit;
    ++self.statistics_.bodies;
    cpu.block = b;
    cpu.gpr[slot_rip] = cpu.rip_mask(cpu.translated.page - cpu.ea_base_cs() + (b->phys & 0xFFF));
    const Insn* in = &b->insn[k];
    cpu.running = in;
    Outcome outcome = body(cpu, *in);
    while (outcome == Outcome::next) {
        ++in;
        if (in->h == &stale_block) {
            stale_block(cpu, in);
            return self.exit_as_is_;
        }
        if (may_go_on(cpu)) return nullptr;
        cpu.running = in;
        outcome = cpu.blocks->body_of(*in)(cpu, *in);
    }
    return self.leave_with(cpu, b, *in, outcome);
}

std::span<const u8> Jit::code_of(const Block& b) const {
    const auto* const t = static_cast<const Translated*>(b.host);
    if (t == nullptr) return {};
    return {t->code, t->size};
}

}  // namespace droste
