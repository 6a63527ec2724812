// SPDX-License-Identifier: Apache-2.0
// The sandbox: entry and exit code around one instruction, and the signal handler that takes its exceptions.
#include "host_cpu.h"

#include <asm/ldt.h>
#include <asm/prctl.h>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/assert.h"

namespace droste::test {

namespace {

/// Where the assembly below finds everything, at a fixed address.
constexpr u64 control_address = 0x40200000;
struct Control {
    std::array<u64, 16> in_gpr;   // 000
    u64 in_rip;                   // 080
    u64 in_rflags;                // 088
    u64 out_rflags;               // 090
    u64 host_rsp;                 // 098
    u64 exit;                     // 0A0: address of the exit code
    u64 stub;                     // 0A8: far pointer of the 32-bit entry
    u64 target;                   // 0B0: far pointer of the instruction, for the 32-bit entry
    u64 data_selector;            // 0B8
    u64 unused[8];                // 0C0
    std::array<u64, 16> out_gpr;  // 100
    u64 padding[16];              // 180
    u32 with_vector;              // 200
    u32 host_mxcsr;               // 204
    u32 components;               // 208
    u32 more[125];                // 20C
    VectorImage in_vector;        // 400
    u64 gap[8];                   // E80: PKRU
    TileImage in_tiles;           // EC0
    u64 gap2[32];                 // 2F00
    VectorImage out_vector;       // 3000
    u64 gap3[8];                  // 3A80
    TileImage out_tiles;          // 3AC0
};
constexpr u64 control_size = 0x8000;
static_assert(offsetof(Control, out_gpr) == 0x100 && offsetof(Control, with_vector) == 0x200 &&
              offsetof(Control, components) == 0x208 && offsetof(Control, in_vector) == 0x400 &&
              offsetof(Control, out_vector) == 0x3000 &&
              offsetof(Control, in_tiles) == 0x400 + 2752 && offsetof(Control, out_tiles) == 0x3000 + 2752);
Control& control = *reinterpret_cast<Control*>(control_address);
constexpr u64 stub_address = control_address + 0x6000;
constexpr u64 scratch_stack = control_address + control_size;
constexpr u32 amx_components = 3 << 17;
constexpr u16 user_code32 = 0x23, user_data = 0x2B, user_code64 = 0x33;
constexpr u16 ldt_code16 = 0x07, ldt_data16 = 0x0F;

}  // namespace

extern "C" {
void droste_test_enter64();
void droste_test_enter32();
void droste_test_exit64();
void droste_test_exit_signal();
extern const u8 droste_test_stub32[], droste_test_stub32_end[];
}

// Absolute addresses are control_address + the offsets above.
asm(R"(
    .text
droste_test_save_host:
    .macro enter_common
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, 0x40200098
    cmpl $0, 0x40200200
    je 1f
    mov 0x40200208, %eax
    xor %edx, %edx
    xrstor64 0x40200400
1:
    .endm
    .macro leave_common
    fninit
    ldmxcsr 0x40200204
    vzeroupper
    pushq $0x202
    popfq
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
    .endm

    .globl droste_test_enter64
droste_test_enter64:
    enter_common
    pushq 0x40200088
    popfq
    mov 0x40200000, %rax
    mov 0x40200008, %rcx
    mov 0x40200010, %rdx
    mov 0x40200018, %rbx
    mov 0x40200028, %rbp
    mov 0x40200030, %rsi
    mov 0x40200038, %rdi
    mov 0x40200040, %r8
    mov 0x40200048, %r9
    mov 0x40200050, %r10
    mov 0x40200058, %r11
    mov 0x40200060, %r12
    mov 0x40200068, %r13
    mov 0x40200070, %r14
    mov 0x40200078, %r15
    mov 0x40200020, %rsp
    jmp *0x40200080

    .globl droste_test_exit64
droste_test_exit64:
    mov %rax, 0x40200100
    mov %rcx, 0x40200108
    mov %rdx, 0x40200110
    mov %rbx, 0x40200118
    mov %rsp, 0x40200120
    mov %rbp, 0x40200128
    mov %rsi, 0x40200130
    mov %rdi, 0x40200138
    mov %r8, 0x40200140
    mov %r9, 0x40200148
    mov %r10, 0x40200150
    mov %r11, 0x40200158
    mov %r12, 0x40200160
    mov %r13, 0x40200168
    mov %r14, 0x40200170
    mov %r15, 0x40200178
    mov 0x40200098, %rsp
    pushfq
    popq 0x40200090
    cmpl $0, 0x40200200
    je 1f
    mov 0x40200208, %eax
    xor %edx, %edx
    xsave64 0x40203000
1:
    .globl droste_test_exit_signal
droste_test_exit_signal:
    leave_common

    .globl droste_test_enter32
droste_test_enter32:
    enter_common
    ljmp *0x402000A8

    .section .rodata
    .globl droste_test_stub32, droste_test_stub32_end
    .code32
droste_test_stub32:
    mov $0x2B, %eax
    mov %eax, %ds
    mov %eax, %ss
    mov $0x40208000, %esp
    mov 0x402000B8, %eax
    pushl 0x40200088
    popfl
    mov %eax, %es
    mov %eax, %ss
    mov %eax, %ds
    mov %cs:0x40200000, %eax
    mov %cs:0x40200008, %ecx
    mov %cs:0x40200010, %edx
    mov %cs:0x40200018, %ebx
    mov %cs:0x40200020, %esp
    mov %cs:0x40200028, %ebp
    mov %cs:0x40200030, %esi
    mov %cs:0x40200038, %edi
    ljmp *%cs:0x402000B0
droste_test_stub32_end:
    .code64
    .text
)");

namespace {

// Signal handlers have no argument for their owner.
volatile sig_atomic_t inside = 0;
HostEvent event;
u64 event_rip;
bool event_with_vector;

void take_exception(int number, siginfo_t*, void* context) {
    // The tested code may have set EFLAGS.AC, and handlers inherit it: no unaligned access before this.
    asm volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\tandq $~0x40000, (%%rsp)\n\tpopfq\n\t"
                 "lea 128(%%rsp), %%rsp" ::: "cc", "memory");
    auto& u = *static_cast<ucontext_t*>(context);
    auto& g = u.uc_mcontext.gregs;
    if (!inside) {  // a bug of the test itself
        signal(number, SIG_DFL);
        return;
    }
    inside = 0;
    constexpr int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                               REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    for (unsigned i = 0; i < 16; ++i) control.out_gpr[i] = static_cast<u64>(g[order[i]]);
    control.out_rflags = static_cast<u64>(g[REG_EFL]);
    event.vector = static_cast<int>(g[REG_TRAPNO]);
    event.error_code = static_cast<u32>(g[REG_ERR]);
    event.address = event.vector == 14 ? static_cast<u64>(g[REG_CR2]) : 0;
    event_rip = static_cast<u64>(g[REG_RIP]);
    if (event_with_vector) {
        std::memcpy(static_cast<void*>(&control.out_vector), u.uc_mcontext.fpregs, sizeof(VectorImage));
        VectorImage& v = control.out_vector;
        if (!(v.xstate_bv & 2)) v.xmm = {};
        if (!(v.xstate_bv & 4)) v.ymm_high = {};
        if (!(v.xstate_bv & 0x20)) v.opmask = {};
        if (!(v.xstate_bv & 0x40)) v.zmm_high = {};
        if (!(v.xstate_bv & 0x80)) v.zmm16 = {};
        if (control.components & amx_components) {
            std::memcpy(static_cast<void*>(&control.out_tiles),
                        reinterpret_cast<const u8*>(u.uc_mcontext.fpregs) + 2752, sizeof(TileImage));
            if (!(v.xstate_bv & 1 << 17)) control.out_tiles.config = {};
            if (!(v.xstate_bv & 1 << 18)) control.out_tiles.tile = {};
        }
    }
    g[REG_RIP] = static_cast<greg_t>(reinterpret_cast<u64>(&droste_test_exit_signal));
    g[REG_RSP] = static_cast<greg_t>(control.host_rsp);
    g[REG_EFL] = 0x202;
    g[REG_CSGSFS] = static_cast<greg_t>((static_cast<u64>(g[REG_CSGSFS]) & 0x0000FFFFFFFF0000ull) |
                                        user_code64 | (u64(user_data) << 48));
}

void* map_at(u64 address, u64 size, int protection) {
    void* p = mmap(reinterpret_cast<void*>(address), size, protection,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    ASSERT(p == reinterpret_cast<void*>(address));
    return p;
}

bool set_ldt(unsigned entry, u64 base, u32 limit, bool is_code) {
    user_desc d{};
    d.entry_number = entry;
    d.base_addr = static_cast<unsigned>(base);
    d.limit = limit;
    d.contents = is_code ? 2 : 0;
    d.useable = 1;
    return syscall(SYS_modify_ldt, 1, &d, sizeof d) == 0;
}

constexpr std::size_t signal_stack_size = 1 << 18;

}  // namespace

HostCpu::HostCpu() {
    map_at(data, data_size, PROT_READ | PROT_WRITE);
    // Mapped twice, so that what is tested cannot overwrite it.
    const int file = memfd_create("host_cpu", 0);
    ASSERT(file >= 0 && ftruncate(file, code_size) == 0);
    code_alias_ = static_cast<u8*>(mmap(nullptr, code_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
    ASSERT(code_alias_ != MAP_FAILED);
    ASSERT(mmap(reinterpret_cast<void*>(code), code_size, PROT_READ | PROT_EXEC,
                MAP_SHARED | MAP_FIXED_NOREPLACE, file, 0) == reinterpret_cast<void*>(code));
    close(file);
    map_at(control_address, control_size, PROT_READ | PROT_WRITE | PROT_EXEC);
    std::memset(code_alias_, 0xCC, code_size);
    std::memcpy(reinterpret_cast<void*>(stub_address), droste_test_stub32,
                static_cast<std::size_t>(droste_test_stub32_end - droste_test_stub32));
    control.exit = reinterpret_cast<u64>(&droste_test_exit64);
    control.stub = stub_address | (u64(user_code32) << 32);
    control.host_mxcsr = 0x1F80;
    constexpr u64 avx512 = 0xE0;
    u32 low, high;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    components_ = (low & avx512) == avx512 ? 7 | avx512 : 7;
    constexpr int request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM
    has_tiles_ = (low & amx_components) == amx_components &&
                 syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
    stack_t stack{};
    stack.ss_sp = std::malloc(signal_stack_size);
    stack.ss_size = signal_stack_size;
    sigaltstack(&stack, nullptr);
    struct sigaction action{};
    action.sa_sigaction = take_exception;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    for (int s : {SIGSEGV, SIGILL, SIGFPE, SIGBUS, SIGTRAP}) sigaction(s, &action, nullptr);
    syscall(SYS_arch_prctl, ARCH_GET_FS, &fs_base_);
    gs_base_ = 0x12345670;
    syscall(SYS_arch_prctl, ARCH_SET_GS, gs_base_);
    available_[2] = true;
    available_[0] = set_ldt(0, code, limit16_code, true) && set_ldt(1, data, limit16_data, false);
    UserState nop;
    const u8 bytes[] = {0x90};
    available_[1] = true;
    nop.gpr[4] = data + 0x1000;
    available_[1] = execute(bytes, CodeSize::bits32, false, false, nop).vector == -1 && nop.rip == insn + 1;
}

HostCpu::~HostCpu() {
    for (int s : {SIGSEGV, SIGILL, SIGFPE, SIGBUS, SIGTRAP}) signal(s, SIG_DFL);
    stack_t stack{};
    sigaltstack(nullptr, &stack);
    stack_t off{};
    off.ss_flags = SS_DISABLE;
    sigaltstack(&off, nullptr);
    std::free(stack.ss_sp);
    munmap(reinterpret_cast<void*>(data), data_size);
    munmap(reinterpret_cast<void*>(code), code_size);
    munmap(code_alias_, code_size);
    munmap(reinterpret_cast<void*>(control_address), control_size);
}

HostEvent HostCpu::execute(std::span<const u8> bytes, CodeSize size, bool with_vector, bool branch,
                           UserState& state, TileImage* tiles) {
    control.components = static_cast<u32>(components_) | (tiles != nullptr ? amx_components : 0);
    if (tiles != nullptr) control.in_tiles = *tiles;
    u8* at = code_alias_ + (insn - code);
    std::memcpy(at, bytes.data(), bytes.size());
    control.in_gpr = state.gpr;
    control.in_rflags = state.rflags;
    control.with_vector = with_vector;
    if (with_vector) {
        control.in_vector = state.vector;
        control.in_vector.xstate_bv = control.components;
    }
    event = {};
    event_rip = 0;
    event_with_vector = with_vector;
    // 64-bit code leaves by a jump through memory; the shorter modes, branches and faults by a signal.
    constexpr u8 jump[] = {0xFF, 0x24, 0x25, 0xA0, 0x00, 0x20, 0x40};
    inside = 1;
    if (size == CodeSize::bits64) {
        if (!branch) std::memcpy(at + bytes.size(), jump, sizeof jump);
        control.in_rip = insn;
        droste_test_enter64();
        std::memset(at + bytes.size(), 0xCC, sizeof jump);
    } else {
        const bool is16 = size == CodeSize::bits16;
        control.target = is16 ? (insn - code) | (u64(ldt_code16) << 32) : insn | (u64(user_code32) << 32);
        control.data_selector = is16 ? ldt_data16 : user_data;
        droste_test_enter32();
    }
    inside = 0;
    std::memset(at, 0xCC, bytes.size());
    const u64 end = (size == CodeSize::bits16 ? insn - code : insn) + bytes.size();
    state.gpr = control.out_gpr;
    state.rflags = control.out_rflags;
    if (with_vector) state.vector = control.out_vector;
    if (tiles != nullptr) *tiles = control.out_tiles;
    if (event.vector == -1) {
        state.rip = end;
    } else if (event.vector == 3) {  // the INT3 after the instruction, or where a branch went
        state.rip = event_rip - 1;
        event = {};
    } else {
        state.rip = event_rip;
    }
    return event;
}

}  // namespace droste::test
