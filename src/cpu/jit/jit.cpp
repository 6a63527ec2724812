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

}  // namespace

jit::Layout::Layout(const Cpu& cpu) {
    const char* const base = reinterpret_cast<const char*>(static_cast<const CpuState*>(&cpu)) + state_bias;
    const auto distance = [base](const auto& member) {
        return static_cast<i32>(reinterpret_cast<const char*>(&member) - base);
    };
    flags = distance(cpu.flags);
    budget = distance(cpu.budget);
    tlb = distance(cpu.tlb);
    rip = distance(cpu.rip);
    ea_base = distance(cpu.ea_base);
    page = distance(cpu.page);
    target = distance(cpu.target);
    branch = distance(cpu.branch);
    wanted = distance(cpu.wanted);
    targets = distance(cpu.targets);
    cr0 = distance(cpu.cr0);
    cr4 = distance(cpu.cr4);
    xcr0 = distance(cpu.xcr0);
    vec = distance(cpu.vec);
    opmask = distance(cpu.opmask);
    ASSERT(tlb >= -128 && page >= -128 && targets >= -128);  // short displacements
    watch_bus_locks = distance(cpu.watch_bus_locks);
    self = static_cast<i32>(reinterpret_cast<const char*>(&cpu) - base);
}

bool Jit::worthwhile() {
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__)
    __builtin_cpu_init();
    return __builtin_cpu_supports("bmi2");
#else
    return false;  // the run loop walks blocks itself
#endif
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
      lock_is_free_(cpu.costs[CostEvent::lock] == 0), misses_are_free_(!cpu.clock_follows_cycles),
      config_(config), buffer_(std::move(buffer)), layout_(cpu), begin_(buffer_.writable()),
      end_(begin_ + config.cache_bytes), at_(begin_), cold_begin_(begin_ + config.cache_bytes / 2),
      cold_at_(cold_begin_), executable_delta_(buffer_.executable() - begin_) {
    make_stubs();
    statistics_.by_row.resize(isa_.size());
    statistics_.missed_by_row.resize(isa_.size());
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
    constant(CodeTargets::index_bits);
    constexpr u64 masks[] = {1ull << 63, 15, 31, 63, cr0_bits::em | cr0_bits::ts, cr0_bits::ts, cr4_bits::osfxsr,
                             cr4_bits::osxsave, 6, 0xE6};
    for (const u64 mask : masks)
        constant(mask);
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
    for (Cpu* cpu : cpus_) cpu->mmu.forget_code_targets();
    at_ = after_stubs_;
    cold_at_ = cold_begin_;
    ++statistics_.flushes;
}

void Jit::invalidate(Block& b) {
    auto* const t = static_cast<Translated*>(b.host);
    u8* const start = begin_ + (t->code - executable(begin_));
    *start = 0xE9;  // jmp; nobody will return into these bytes, since a body was called from behind them
    Assembler::patch32(start + 1, begin_ + (t->leave - executable(begin_)));
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
    constexpr std::ptrdiff_t most = 64 << 10;  // of one block
    const auto left = [](const u8* from, const u8* to) { return to - from; };
    if (left(at_, cold_begin_) < most || left(cold_at_, end_) < most) flush();
    auto t = std::make_unique<Translated>();
    Translator translator(*this, b, *t);
    u8* const start = at_;
    u8* const cold_start = cold_at_;
    if (!translator.run()) return nullptr;
    t->block = &b;
    b.host = t.get();
    translated_.push_back(std::move(t));
    ++statistics_.translated;
    statistics_.host_bytes += static_cast<u64>(at_ - start);
    statistics_.cold_bytes += static_cast<u64>(cold_at_ - cold_start);
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
    ++statistics_.linked;
    s.next = t->incoming;
    t->incoming = site;
}

CodeTargets::Entry* Jit::targets_of(FetchTlb& fetch, u32 mode) {
    if (!translatable(mode)) return no_targets_->entries();
    std::unique_ptr<CodeTargets>& t = fetch.targets[targets_index(mode)];
    if (t == nullptr) t = CodeTargets::make();
    return t->entries();
}

void Jit::remember_jump(const Cpu& cpu, u64 linear, const Block& b) {
    cpu.fetch_tlb->targets[targets_index(b.mode)]->set(linear, static_cast<const Translated*>(b.host)->code);
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
    remember_jump(cpu, linear, b);
    if (const u32 site = static_cast<u32>(cpu.wanted); site != 0) link(cpu, site);
    cpu.wanted = 0;
    cpu.page = linear & ~0xFFFull;
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
    if (cpu.attention || cpu.budget < budget_bias) {
        ++statistics_.left_event;
        return exit_as_is_;
    }
    const u64 linear = cpu.ea_base_cs() + cpu.rip;
    const u8* code = CodeTargets::find(cpu.targets, linear);
    if (code == nullptr) {
        const Block* const b = cpu.blocks->find_fast(cpu, linear);
        if (b == nullptr || b->host == nullptr) {
            ++statistics_.left_unknown;
            return exit_as_is_;
        }
        remember_jump(cpu, linear, *b);
        code = static_cast<const Translated*>(b->host)->code;
    }
    cpu.page = linear & ~0xFFFull;
    return code;
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
    const u64 page = cpu.page;
    return !cpu.attention && cpu.budget >= budget_bias &&
           cpu.fetch_tlb->entry[FetchTlb::slot(page)].tag + (page >> 12) == 0;
}

/// Each piece takes a tick and may be followed by an event, as in Cpu::finish_instruction; the block stays.
bool Jit::repeat(Cpu& cpu, const Insn& in) {
    if (in.h == &stale_block || cpu.budget <= budget_bias || !may_go_on(cpu)) return false;
    cpu.budget -= 1;
    cpu.rep_rip = cpu.insn_rip(in);
    cpu.rep_ticks = cpu.ticks();
    return true;
}

const u8* Jit::run_body(Cpu& cpu, Block* b, u32 number, Body body) {
    Jit& self = *cpu.jit;
    Statistics& counts = self.statistics_;
    ++counts.bodies;
    const u32 k = number & (called_for_miss - 1);
    // Of a block that does not fit into the budget as much is executed as Cpu::walk_block() would.
    const i64 limit = (number & called_unchecked) && cpu.budget < 0 ? b->n + cpu.budget : i64{b->n} + 1;
    const bool missed = number & called_for_miss;
    counts.missed += missed;
    cpu.block = b;
    cpu.gpr[slot_rip] = cpu.rip_mask(cpu.page - cpu.ea_base_cs() + (b->phys & 0xFFF));
    const Insn* in = &b->insn[k];
    if (in->op < counts.by_row.size()) ++(missed ? counts.missed_by_row : counts.by_row)[in->op];
    cpu.running = in;
    Outcome outcome = body(cpu, *in);
    while (outcome == Outcome::again && repeat(cpu, *in)) outcome = body(cpu, *in);
    while (outcome == Outcome::next) {
        ++in;
        if (in->h == &stale_block) {
            stale_block(cpu, in);
            return self.exit_as_is_;
        }
        if (may_go_on(cpu)) return nullptr;
        if (in - b->insn >= limit) {
            stale_block(cpu, in);
            return self.exit_as_is_;
        }
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
