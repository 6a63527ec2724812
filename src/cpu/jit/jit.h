// SPDX-License-Identifier: Apache-2.0
// Jit: translates hot blocks to host code, links them, runs them, and forgets them when their code is written.
#pragma once
#include <memory>
#include <vector>

#include "base/result.h"
#include "cpu/cpu.h"
#include "cpu/jit/registers.h"
#include "cpu/thunk/code_buffer.h"

namespace droste {

class BlockCache;
struct Decoded;

namespace jit {

/// A place in translated code that jumps to another block: a rel32 field, and the stub that it points to
/// while not linked.
struct Site {
    u8* field;         ///< writable address
    const u8* stub;    ///< writable address of the code that asks for the link
    u16 target;        ///< offset of the target in the page
    u32 mode;
    u64 frame;         ///< number of the frame that holds the code
    u32 next = 0;      ///< further site linked to the same block; 0: none
    bool linked = false;
};

/// What is known of a translated block. Lives until the cache is flushed.
struct Translated {
    const u8* code;    ///< executable
    Block* block;
    const u8* leave;   ///< executable: leaves at the start of the block
    u32 size = 0;      ///< bytes, without the cold ones
    u32 incoming = 0;  ///< first site linked to it
};

struct Statistics {
    u64 translated = 0, instructions = 0, natively = 0;  ///< blocks; instructions in them, and those re-encoded
    u64 host_bytes = 0, cold_bytes = 0, flushes = 0, unlinked = 0, linked = 0;
    u64 entries = 0;                                      ///< from the run loop
    u64 bodies = 0, missed = 0;                           ///< calls of bodies; of these, of re-encoded instructions
    u64 left_event = 0;        ///< after a branch by its body: something waits or is near
    u64 left_unknown = 0;      ///< the target is not in the jump cache or not translated
    std::vector<u64> by_row;   ///< bodies called for lack of a translation, by row of the instruction set
    std::vector<u64> missed_by_row;  ///< ... for a miss in the TLB or the jump cache
};
/// Bit of the instruction's number with which a body is called: a miss, not the lack of a translation.
inline constexpr u32 called_for_miss = 1u << 16;
/// ... before the block has checked the budget.
inline constexpr u32 called_unchecked = 1u << 17;

class Translator;

/// Code of these modes is translated.
constexpr bool translatable(u32 mode) {
    const u32 plain = mode & ~mode_bits::user;
    return plain == (mode_bits::code64 | mode_bits::stack32) || plain == (mode_bits::code32 | mode_bits::stack32);
}
/// Which table of FetchTlb::targets.
constexpr unsigned targets_index(u32 mode) { return (mode & mode_bits::code_mask) == mode_bits::code64; }

}  // namespace jit

class Jit {
public:
    struct Config {
        u64 cache_bytes = 64u << 20;
        u32 threshold = 2;  ///< times a block runs in the interpreter before it is translated
    };
    /// What the budget must exceed the length of a block by.
    static constexpr i64 reserve = jit::budget_bias;
    /// For `cpu` and all processors that share its blocks; each is told by Cpu::use_jit().
    static Result<std::shared_ptr<Jit>> make(Cpu& cpu, const Config& config);
    ~Jit();
    /// The host has what translated code is made of, and this build can run it.
    static bool worthwhile();

    /// Runs the block, and what follows it as long as it is translated; false: it is not (yet), interpret it.
    bool run(Cpu& cpu, Block& b);
    /// The processor will run translated code.
    void attach(Cpu& cpu) { cpus_.push_back(&cpu); }
    void detach(Cpu& cpu) { std::erase(cpus_, &cpu); }
    /// What translated code probes for the targets of its branches.
    CodeTargets::Entry* targets_of(FetchTlb& fetch, u32 mode);
    /// The block's bytes were written, or its memory is given back.
    void invalidate(Block& b);
    /// Forgets everything.
    void flush();
    const jit::Statistics& statistics() const { return statistics_; }
    /// Executable code of a block, for listings; empty: not translated.
    std::span<const u8> code_of(const Block& b) const;

private:
    friend class jit::Translator;
    Jit(Cpu& cpu, const Config& config, CodeBuffer buffer);
    void make_stubs();
    const u8* after_branch(Cpu& cpu);
    /// The instruction came to the end of a piece of its work (REP): the next one, if nothing else has to come first.
    static bool repeat(Cpu& cpu, const Insn& in);
    static bool may_go_on(const Cpu& cpu);
    const u8* leave_with(Cpu& cpu, Block* b, const Insn& in, Outcome outcome);
    jit::Translated* translate(Block& b);
    void link(const Cpu& cpu, u32 site);
    static void remember_jump(const Cpu& cpu, u64 linear, const Block& b);
    const u8* executable(const u8* writable) const { return writable + executable_delta_; }
    /// Called by translated code: the instruction `number` of `b` by its body. Null: go on; else where to jump.
    static const u8* run_body(Cpu& cpu, Block* b, u32 number, Body body);

    const Isa& isa_;
    const PhysicalMemory& memory_;
    const BlockCache& blocks_;
    const bool lock_is_free_;  ///< the timing model charges nothing for locked accesses
    const bool misses_are_free_;  ///< the budget of a block is the same at its start and after its first instructions
    const Config config_;
    CodeBuffer buffer_;
    jit::Layout layout_;
    u8* begin_;
    u8* end_;
    u8* at_;             // writable; the next block goes here, up to cold_begin_
    u8* cold_begin_;     // behind it lies what is seldom executed
    u8* cold_at_;
    i64 executable_delta_;
    u8* after_stubs_ = nullptr;
    void (*enter_)(void* state, const u8* code) = nullptr;
    const u8* exit_dispatch_ = nullptr;   // executable: r10 = RIP
    const u8* exit_as_is_ = nullptr;      // executable: Cpu::rip is set
    u8* body_stub_ = nullptr;             // writable: r10 = block, ecx = index of the instruction
    u8* exit_dispatch_w_ = nullptr;
    u8* exit_link_w_ = nullptr;           // writable: r10 = RIP, ecx = site
    u8* masks_ = nullptr;                 // constants in the cache, at the places of translator.h
    std::vector<std::unique_ptr<jit::Translated>> translated_;
    std::vector<jit::Site> sites_;
    std::vector<Cpu*> cpus_;
    std::unique_ptr<CodeTargets> no_targets_ = CodeTargets::make();  // of modes that are not translated
    const Insn* left_at_ = nullptr;       // with an outcome that the run loop has to finish
    Outcome left_outcome_{};
    jit::Statistics statistics_;
};

}  // namespace droste
