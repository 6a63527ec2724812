// SPDX-License-Identifier: Apache-2.0
// Every user-mode row of the instruction table against the host processor.
//
// DROSTE_FUZZ_SEED, DROSTE_FUZZ_CASES (per row) and DROSTE_FUZZ_ROW (mnemonic) widen or narrow a run; a
// failure prints the seed that repeats it.
#include <algorithm>
#include <cstdlib>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "cpu/insns/tables.h"
#include "host_fuzz.h"

namespace droste::test {
namespace {

u64 from_environment(const char* name, u64 otherwise) {
    const char* text = std::getenv(name);
    return text != nullptr ? std::strtoull(text, nullptr, 0) : otherwise;
}

struct Table {
    const char* name;
    RowSpan (*rows)();
};
void PrintTo(const Table& t, std::ostream* out) { *out << t.name; }

constexpr Table general_tables[] = {
    {"arithmetic", arithmetic_rows}, {"logic", logic_rows},   {"shift", shift_rows},   {"bit", bit_rows},
    {"move", move_rows},             {"stack", stack_rows},   {"string", string_rows},
     {"branch", branch_rows},
    {"flag", flag_rows},             {"hint", hint_rows},     {"bcd", bcd_rows},
    {"segment", segment_rows},       {"machine", machine_rows},
};
constexpr Table vector_tables[] = {
    {"sse", sse_rows}, {"avx", avx_rows}, {"mmx", mmx_rows}, {"x87", x87_rows}, {"crypto", crypto_rows},
     {"xsave", xsave_rows}, {"avx_extensions", avx_extension_rows}, {"avx512_mask", avx512_mask_rows},
    {"avx512_move", avx512_move_rows}, {"avx512_float", avx512_float_rows},
    {"avx512_integer", avx512_integer_rows}, {"avx512_fp16", avx512_fp16_rows},
    {"amx", amx_rows},
};

/// Rows that are marked as not for user mode or not deterministic, of which these are both all the same.
constexpr std::string_view also_fuzzed[] = {"MASKMOVQ",   "MASKMOVDQU", "VMASKMOVDQU", "ARPL",
                                            "LFENCE",     "MFENCE",     "SFENCE",      "CLFLUSH",
                                            "CLFLUSHOPT", "CLWB",       "FXSAVE",      "FXRSTOR"};
bool fuzzed(const InsnRow& row) {
    if (std::find(std::begin(also_fuzzed), std::end(also_fuzzed), row.mnemonic) != std::end(also_fuzzed))
        return true;
    return !(row.traits & (traits::not_user_fuzzed | traits::privileged));
}
void check(const Table& table, CodeSize size, unsigned cases) {
    HostFuzz fuzz(size);
    if (!fuzz.available()) GTEST_SKIP() << "this host does not run code of that size";
    const u64 seed = from_environment("DROSTE_FUZZ_SEED", 1);
    const u64 count = from_environment("DROSTE_FUZZ_CASES", cases);
    const char* only = std::getenv("DROSTE_FUZZ_ROW");
    unsigned rows = 0, failures = 0, host_lacks = 0;
    for (const InsnRow& row : table.rows()) {
        if (only != nullptr && row.mnemonic != only) continue;
        if (!fuzzed(row)) continue;
        if (row.traits & (size == CodeSize::bits64 ? traits::no64 : traits::only64)) continue;
        if (size != CodeSize::bits64 && !row.encoding.vex && !row.encoding.evex && row.encoding.w == 1) continue;
        if (!host_has(row.needs) || (row.domain == Domain::amx && !fuzz.has_tiles())) {
            ++host_lacks;
            continue;
        }
        ++rows;
        const std::string difference = fuzz.check_row(row, seed, static_cast<unsigned>(count));
        if (!difference.empty()) {
            ++failures;
            ADD_FAILURE() << difference;
        }
        if (failures >= 40) break;
    }
    fmt::print("{}: {} rows, {} cases, {} with a fault, {} drawn anew, {} rows that this host lacks\n",
               table.name, rows, fuzz.tally.cases, fuzz.tally.faults, fuzz.tally.rejected, host_lacks);
}

std::string table_name(const testing::TestParamInfo<Table>& p) { return p.param.name; }

class General64 : public testing::TestWithParam<Table> {};
TEST_P(General64, AgreesWithHost) { check(GetParam(), CodeSize::bits64, 10000); }
INSTANTIATE_TEST_SUITE_P(HostFuzz, General64, testing::ValuesIn(general_tables),
                         table_name);

class General32 : public testing::TestWithParam<Table> {};
TEST_P(General32, AgreesWithHost) { check(GetParam(), CodeSize::bits32, 3000); }
INSTANTIATE_TEST_SUITE_P(HostFuzz, General32, testing::ValuesIn(general_tables),
                         table_name);

class General16 : public testing::TestWithParam<Table> {};
TEST_P(General16, AgreesWithHost) { check(GetParam(), CodeSize::bits16, 1000); }
INSTANTIATE_TEST_SUITE_P(HostFuzz, General16, testing::ValuesIn(general_tables),
                         table_name);

class Vector64 : public testing::TestWithParam<Table> {};
TEST_P(Vector64, AgreesWithHost) { check(GetParam(), CodeSize::bits64, 10000); }
INSTANTIATE_TEST_SUITE_P(HostFuzz, Vector64, testing::ValuesIn(vector_tables),
                         table_name);

class Vector32 : public testing::TestWithParam<Table> {};
TEST_P(Vector32, AgreesWithHost) { check(GetParam(), CodeSize::bits32, 300); }
INSTANTIATE_TEST_SUITE_P(HostFuzz, Vector32, testing::ValuesIn(vector_tables),
                         table_name);

/// Each part of the state, changed on the emulated side, must be reported by its name.
TEST(HostFuzzItself, SeesEveryDifference) {
    struct Spoiler {
        const char* what;
        void (*spoil)(Cpu&);
    };
    constexpr Spoiler spoilers[] = {
        {"register", [](Cpu& c) { c.gpr[9] ^= 1ull << 63; }},
        {"rip", [](Cpu& c) { c.rip ^= 1; }},
        {"flags", [](Cpu& c) { c.flags ^= flag_image::af; }},
        {"flags", [](Cpu& c) { c.rflags ^= rflags_bits::df; }},
        {"memory", [](Cpu& c) { *c.memory.host(0x200000 + 0x1FFF) ^= 1; }},
        {"event", [](Cpu& c) { c.pending_fault = Fault::of(Vector::np, 0); }},
        {"mxcsr", [](Cpu& c) { c.fx.mxcsr ^= 1; }},
        {"xmm", [](Cpu& c) { c.vec[15].q[1] ^= 1ull << 63; }},
        {"ymm", [](Cpu& c) { c.vec[3].q[2] ^= 1; }},
        {"zmm", [](Cpu& c) { c.vec[15].q[7] ^= 1ull << 63; }},
        {"zmm16", [](Cpu& c) { c.vec[31].q[0] ^= 1; }},
        {"opmask", [](Cpu& c) { c.opmask[7] ^= 1ull << 63; }},
        {"fcw", [](Cpu& c) { c.fx.fcw ^= 0x400; }},
        {"fsw", [](Cpu& c) { c.fx.fsw ^= 0x400; }},
        {"ftw", [](Cpu& c) { c.fx.ftw ^= 0x80; }},
        {"st", [](Cpu& c) { c.fx.st[7][9] ^= 0x80; }},
        {"fop", [](Cpu& c) { c.fx.fop ^= 1; }},
        {"fip", [](Cpu& c) { c.fx.fip ^= 1; }},
        {"fdp", [](Cpu& c) { c.fx.fdp ^= 1; }},
    };
    HostFuzz fuzz(CodeSize::bits64);
    const InsnRow* fadd = nullptr;
    for (const InsnRow& row : x87_rows())
        if (row.mnemonic == "FADD" && fadd == nullptr) fadd = &row;
    ASSERT_NE(fadd, nullptr);
    for (const Spoiler& s : spoilers) {
        const std::string_view what = s.what;
        if (!host_has(Feature::avx512f) && (what.starts_with("zmm") || what == "opmask")) continue;
        fuzz.spoil = s.spoil;
        const std::string difference = fuzz.check_row(*fadd, 1, 2000);
        if (std::string_view(s.what) == "event") {
            // Visible only in cases that fault; those are among them.
            EXPECT_NE(difference.find("event differs"), std::string::npos) << difference;
        } else {
            EXPECT_NE(difference.find(std::string(s.what) + " differs"), std::string::npos)
                << s.what << difference;
        }
    }
}

}  // namespace
}  // namespace droste::test
