// SPDX-License-Identifier: Apache-2.0
// Indirect-branch tracking: what must meet ENDBRANCH, what is excepted, and where the tracker lives
// meanwhile.
#include "enforcement_machine.h"

namespace droste::test {
namespace {

using namespace cet_bits;
using M = EnforcementMachine;

constexpr u64 target = 0x3000;
const std::vector<u8> endbr64 = {0xF3, 0x0F, 0x1E, 0xFA}, endbr32 = {0xF3, 0x0F, 0x1E, 0xFB}, nop = {0x90},
                      int3 = {0xCC}, ud2 = {0x0F, 0x0B};

/// Runs `branch` (RAX: target; [RBX]: target) with `at_target` and a HLT behind it. The vector of the
/// exception, -1: the HLT was reached.
int vector_of(M& m, std::vector<u8> branch, const std::vector<u8>& at_target) {
    m.write(target, at_target);
    m.poke<u8>(target + at_target.size(), 0xF4);
    m.poke<u64>(M::data, target);
    m.cpu.reg(Gpr::rax) = target;
    m.cpu.reg(Gpr::rbx) = M::data;
    m.cpu.activity = Activity::active;
    m.run(branch, 100);
    return m.cpu.rip == target + at_target.size() + 1 ? -1 : m.handled();
}
const std::vector<u8> jmp_rax = {0xFF, 0xE0}, jmp_mem = {0xFF, 0x23}, call_rax = {0xFF, 0xD0},
                      call_mem = {0xFF, 0x13}, notrack_jmp = {0x3E, 0xFF, 0xE0},
                      notrack_call_mem = {0x3E, 0xFF, 0x13}, fs_notrack = {0x64, 0x3E, 0xFF, 0xE0},
                      notrack_fs = {0x3E, 0x64, 0xFF, 0xE0};

TEST(BranchTracking, IndirectBranchesMustMeetEndbranch) {
    for (const auto& branch : {jmp_rax, jmp_mem, call_rax, call_mem}) {
        M m(0, 0, endbr_en);
        EXPECT_EQ(vector_of(m, branch, endbr64), -1);
        EXPECT_EQ(m.cpu.cet.s_cet, endbr_en) << "the tracker is idle again";
        EXPECT_EQ(vector_of(m, branch, nop), 21);
        EXPECT_EQ(m.pushed<u64>(0), 3u) << "error code ENDBRANCH";
        EXPECT_EQ(m.pushed<u64>(1), target);
        M off(0, endbr_en, 0);
        EXPECT_EQ(vector_of(off, branch, nop), -1) << "IA32_U_CET is for CPL 3";
    }
}

TEST(BranchTracking, OtherBranchesAreFree) {
    M m(0, 0, endbr_en);
    EXPECT_EQ(vector_of(m, {0xE9, 0xFB, 0x0F, 0, 0}, nop), -1) << "direct JMP";
    EXPECT_EQ(vector_of(m, {0x50, 0xC3}, nop), -1) << "push rax; ret";
}

TEST(BranchTracking, EndbranchOfTheOtherWidthDoesNotCount) {
    M m(0, 0, endbr_en);
    EXPECT_EQ(vector_of(m, jmp_rax, endbr32), 21);
}

TEST(BranchTracking, BreakpointsAndBadOpcodesComeFirst) {
    M m(0, 0, endbr_en);
    EXPECT_EQ(vector_of(m, jmp_rax, int3), 3);
    M n(0, 0, endbr_en);
    EXPECT_EQ(vector_of(n, jmp_rax, {0x0F, 0x04}), 6) << "no instruction at all";
    M u(0, 0, endbr_en);
    EXPECT_EQ(vector_of(u, jmp_rax, ud2), 21) << "UD2 is one";
}

TEST(BranchTracking, NoTrackPrefix) {
    M m(0, 0, endbr_en | no_track_en);
    EXPECT_EQ(vector_of(m, notrack_jmp, nop), -1);
    EXPECT_EQ(vector_of(m, notrack_call_mem, nop), -1);
    EXPECT_EQ(vector_of(m, jmp_rax, nop), 21);
    M last(0, 0, endbr_en | no_track_en);
    EXPECT_EQ(vector_of(last, fs_notrack, nop), -1);
    EXPECT_EQ(vector_of(last, notrack_fs, nop), 21) << "the last segment prefix counts";
    M refused(0, 0, endbr_en);
    EXPECT_EQ(vector_of(refused, notrack_jmp, nop), 21) << "NO_TRACK_EN";
}

TEST(BranchTracking, LegacyPages) {
    constexpr u64 map = 0x50000;
    for (const bool suppresses : {true, false}) {
        M m(0, 0, endbr_en | leg_iw_en | map | (suppresses ? 0 : suppress_dis));
        EXPECT_EQ(vector_of(m, jmp_rax, nop), 21);
        m.cpu.cet.s_cet &= ~(tracker | suppress);
        m.cpu.context_changed();
        m.poke<u8>(map + (target >> 15), 1u << ((target >> 12) & 7));
        EXPECT_EQ(vector_of(m, jmp_rax, nop), -1);
        EXPECT_EQ(bool(m.cpu.cet.s_cet & suppress), suppresses);
        EXPECT_FALSE(m.cpu.cet.s_cet & tracker);
        m.poke<u8>(map + (target >> 15), 0);
        EXPECT_EQ(vector_of(m, jmp_rax, nop), suppresses ? -1 : 21) << "suppressed branches are not tracked";
        if (!suppresses)
            continue;
        EXPECT_EQ(vector_of(m, {0xE9, 0xFB, 0x0F, 0, 0}, endbr64), -1);
        EXPECT_FALSE(m.cpu.cet.s_cet & suppress) << "ENDBRANCH ends the suppression";
        EXPECT_EQ(vector_of(m, jmp_rax, nop), 21);
    }
}

TEST(BranchTracking, HandlersMustBeginWithEndbranch) {
    M m(0, 0, endbr_en);
    EXPECT_EQ(m.fault_of({0xCD, 0x80}), none);
    EXPECT_TRUE(m.cpu.cet.s_cet & tracker);
    EXPECT_TRUE(m.cpu.mode & mode_bits::endbranch);
    EXPECT_EQ(m.fault_of({0xF3, 0x0F, 0x1E, 0xFA}), none);
    EXPECT_FALSE(m.cpu.cet.s_cet & tracker);
    EXPECT_FALSE(m.cpu.mode & mode_bits::endbranch);
}

TEST(BranchTracking, AUsersTrackerWaitsWhileTheSystemRuns) {
    M m(3, endbr_en, 0);
    m.open_gate(0x80);
    m.cpu.reg(Gpr::rax) = target;
    EXPECT_EQ(m.fault_of({0xFF, 0xE0}), none);
    EXPECT_TRUE(m.cpu.mode & mode_bits::endbranch);
    EXPECT_EQ(m.fault_of({0xCD, 0x80}), none);
    EXPECT_EQ(m.cpu.cet.u_cet, endbr_en | tracker);
    EXPECT_FALSE(m.cpu.mode & mode_bits::endbranch);
    EXPECT_EQ(m.fault_of({0x48, 0xCF}), none);
    EXPECT_TRUE(m.cpu.mode & mode_bits::endbranch);
}

TEST(BranchTracking, FarTransfersAndSystemCallsAreTracked) {
    M m(0, 0, endbr_en | suppress);
    m.poke<u32>(M::data, target);
    m.poke<u16>(M::data + 4, M::code_selector);
    m.cpu.reg(Gpr::rbx) = M::data;
    for (const u8 modrm : {u8{0x1B}, u8{0x2B}}) {
        m.cpu.cet.s_cet = endbr_en | suppress;
        EXPECT_EQ(m.fault_of({0xFF, modrm}), none);
        EXPECT_EQ(m.cpu.cet.s_cet, endbr_en | tracker) << int(modrm);
        EXPECT_TRUE(m.cpu.mode & mode_bits::endbranch);
    }
    M u(3, 0, endbr_en | suppress);
    u.cpu.star = u64(M::code_selector) << 32;
    EXPECT_EQ(u.fault_of({0x0F, 0x05}), none);
    EXPECT_EQ(u.cpu.cet.s_cet, endbr_en | tracker);
    EXPECT_TRUE(u.cpu.mode & mode_bits::endbranch);
    M e(3, 0, endbr_en);
    e.cpu.sysenter_cs = M::code_selector;
    EXPECT_EQ(e.fault_of({0x0F, 0x34}), none);
    EXPECT_EQ(e.cpu.cet.s_cet, endbr_en | tracker);
}

TEST(BranchTracking, BothMechanismsTogether) {
    M m(0, 0, endbr_en | sh_stk_en);
    const u64 ssp = m.cpu.cet.ssp;
    EXPECT_EQ(vector_of(m, call_rax, endbr64), -1);
    EXPECT_EQ(m.cpu.cet.ssp, ssp - 8);
    EXPECT_EQ(m.shadow(ssp - 8), M::code + 2);
}

}  // namespace
}  // namespace droste::test
