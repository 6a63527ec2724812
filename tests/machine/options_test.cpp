// SPDX-License-Identifier: Apache-2.0
// Configuration: values, messages and help.
#include "machine/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

namespace droste {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string problem_of(std::string_view toml) {
    Options o;
    const Status s = o.load_text(toml, "some/stack.toml", "some");
    return s ? "" : s.error().text;
}

std::string problem_of_set(std::string_view assignment) {
    Options o;
    const Status s = o.set(assignment);
    return s ? "" : s.error().text;
}

TEST(Options, FileGivesValuesWithTheirOrigin) {
    Options o;
    ASSERT_TRUE(o.load_text("engine = \"interpreter\"\n[memory]\nsize = \"2GiB\"\n[stack]\ndepth = 3\n"
                            "[boot]\nkernel = \"images/vmlinuz\"\ninitrd = \"/abs/initrd\"\n"
                            "modules = [\"a.bin one two\", \"/b.bin\"]\n[run]\ntimeout = 1.5\n",
                            "dir/s.toml", "dir"));
    EXPECT_EQ(o.number("memory.size"), 2ull << 30);
    EXPECT_EQ(o.origin("memory.size"), "dir/s.toml:3");
    EXPECT_EQ(o.number("stack.depth"), 3u);
    EXPECT_EQ(o.text("boot.kernel"), "dir/images/vmlinuz");
    EXPECT_EQ(o.text("boot.initrd"), "/abs/initrd");
    EXPECT_THAT(o.paths("boot.modules"), ::testing::ElementsAre("dir/a.bin one two", "/b.bin"));
    EXPECT_EQ(o.number("run.timeout"), 1500u);
    EXPECT_EQ(o.text("cpu.model"), "skylake-sp");
    EXPECT_TRUE(o.is_default("cpu.model"));
}

TEST(Options, CommandLineOverridesFile) {
    Options o;
    ASSERT_TRUE(o.load_text("[memory]\nsize = \"2GiB\"\n", "s.toml", ""));
    ASSERT_TRUE(o.set("memory.size=512MiB"));
    EXPECT_EQ(o.number("memory.size"), 512ull << 20);
    EXPECT_EQ(o.origin("memory.size"), "--set");
}

TEST(Options, UnknownKeyNamesFileLineKeyAndTheNearest) {
    EXPECT_THAT(
        problem_of("[cpu]\n\nmodle = \"max\"\n"),
        AllOf(HasSubstr("some/stack.toml:3"), HasSubstr("cpu.modle"), HasSubstr("did you mean cpu.model?")));
    EXPECT_THAT(problem_of("[memory]\nsise = \"1GiB\"\n"), HasSubstr("did you mean memory.size?"));
    EXPECT_THAT(problem_of("[stak]\ndepth = 2\n"), HasSubstr("did you mean stack.depth?"));
    EXPECT_THAT(problem_of_set("depth=2"), AllOf(HasSubstr("--set"), HasSubstr("did you mean stack.depth?")));
    EXPECT_THAT(problem_of("[wholly]\ndifferent = 2\n"),
                AllOf(HasSubstr("droste config list"), Not(HasSubstr("mean"))));
    EXPECT_THAT(problem_of("[nothing]\n"), HasSubstr("there is no section [nothing]"));
}

TEST(Options, IllTypesAndRangesNameTheRemedy) {
    EXPECT_THAT(problem_of("[stack]\ndepth = 33\n"),
                AllOf(HasSubstr("some/stack.toml:2: stack.depth"), HasSubstr("1 to 32")));
    EXPECT_THAT(problem_of("[stack]\ndepth = 0\n"), HasSubstr("1 to 32"));
    EXPECT_THAT(problem_of("[stack]\ndepth = -1\n"), HasSubstr("some/stack.toml:2: stack.depth"));
    EXPECT_THAT(problem_of("[stack]\ndepth = true\n"), HasSubstr("must be a whole number"));
    EXPECT_THAT(problem_of("[stack]\ndepth = 1.5\n"), HasSubstr("must be a whole number"));
    EXPECT_THAT(problem_of("[memory]\nsize = \"2GB\"\n"), AllOf(HasSubstr("\"2GB\""), HasSubstr("GiB")));
    EXPECT_THAT(problem_of("[memory]\nsize = \"1TiB\"\n"), HasSubstr("16MiB to 64GiB"));
    EXPECT_THAT(problem_of("[cpu]\nmodel = 7\n"), HasSubstr("must be a string"));
    EXPECT_THAT(problem_of("[cpu]\nmodel = \"skylake\"\n"), HasSubstr("did you mean \"skylake-sp\"?"));
    EXPECT_THAT(problem_of("[machine]\ncpus = 65\n"), HasSubstr("1 to 64"));
    EXPECT_THAT(problem_of("[run]\nrealtime = \"yes\"\n"), HasSubstr("must be true or false"));
    EXPECT_THAT(problem_of("[boot]\nmodules = [1]\n"), HasSubstr("must be an array of file names"));
    EXPECT_THAT(problem_of("[stack.depth]\nx = 1\n"), HasSubstr("is a key, not a section"));
    EXPECT_THAT(problem_of("[cpu\n"), AllOf(HasSubstr("some/stack.toml:"), HasSubstr("not TOML")));
    EXPECT_THAT(problem_of_set("memory.size"), HasSubstr("KEY=VALUE"));
    EXPECT_THAT(problem_of_set("memory.size=lots"), HasSubstr("is not a size"));
    EXPECT_THAT(problem_of_set("timing.model=tabel"), HasSubstr("did you mean \"table\"?"));
}

TEST(Options, MissingFileIsAnErrorWithRemedy) {
    Options o;
    const Status s = o.load_file("/nowhere/at/all.toml");
    ASSERT_FALSE(s);
    EXPECT_THAT(s.error().text,
                AllOf(HasSubstr("/nowhere/at/all.toml"), HasSubstr("configs/kvm-stack.toml")));
    EXPECT_FALSE(o.load_file("/tmp"));
}

TEST(Options, ShippedStackFilesAreGood) {
    unsigned files = 0;
    for (const auto& entry : std::filesystem::directory_iterator(DROSTE_SOURCE_DIR "/configs")) {
        if (entry.path().extension() != ".toml")
            continue;
        Options o;
        const Status s = o.load_file(entry.path().string());
        EXPECT_TRUE(s) << s.error().text;
        ++files;
    }
    EXPECT_GE(files, 2u);
}

TEST(Options, EveryRowIsDocumentedAndUnique) {
    const Options o;
    for (const OptionRow* row : o.rows()) {
        EXPECT_TRUE(row->help.ends_with('.')) << row->key;
        EXPECT_LE(row->min, row->max) << row->key;
        EXPECT_EQ(row->type == OptionType::choice, !row->choices.empty()) << row->key;
        EXPECT_TRUE(explain_option(o, row->key)) << row->key;
        EXPECT_THAT(list_options(o, false), HasSubstr(std::string(row->key)));
    }
}

TEST(Options, OtherFoldersHandOverRows) {
    static constexpr OptionRow extra[] = {
        {.key = "vmx.ept", .type = OptionType::boolean, .default_text = "true", .help = "EPT."}};
    Options o({machine_options(), extra});
    ASSERT_TRUE(o.load_text("[vmx]\nept = false\n", "s.toml", ""));
    EXPECT_FALSE(o.flag("vmx.ept"));
}

TEST(Options, ListHasColoursOnlyWhenAsked) {
    const Options o;
    EXPECT_THAT(list_options(o, false), Not(HasSubstr("\x1b")));
    EXPECT_THAT(list_options(o, true), HasSubstr("\x1b["));
}

TEST(Options, ExplainTellsTypeRangeDefaultAndUse) {
    const Options o;
    EXPECT_THAT(*explain_option(o, "memory.size"),
                AllOf(HasSubstr("16MiB to 64GiB"), HasSubstr("1GiB"), HasSubstr("--set memory.size=")));
    EXPECT_THAT(*explain_option(o, "timing"), AllOf(HasSubstr("timing.model"), HasSubstr("timing.clock")));
    EXPECT_THAT(explain_option(o, "memory.szie").error().text, HasSubstr("did you mean memory.size?"));
}

TEST(OptionValues, Sizes) {
    EXPECT_EQ(*parse_size("4096"), 4096u);
    EXPECT_EQ(*parse_size("64 KiB"), 65536u);
    EXPECT_EQ(*parse_size("1.5GiB"), 3ull << 29);
    EXPECT_EQ(*parse_size("2G"), 2ull << 30);
    EXPECT_FALSE(parse_size("0.3KiB"));  // no whole number of bytes
    EXPECT_FALSE(parse_size("99999999999999999999"));
    EXPECT_FALSE(parse_size("20000000TiB"));
    EXPECT_FALSE(parse_size("-1"));
    EXPECT_FALSE(parse_size(""));
    EXPECT_FALSE(parse_size("."));
    EXPECT_EQ(show_size(3ull << 30), "3GiB");
    EXPECT_EQ(show_size(1000), "1000");
}

TEST(OptionValues, IntegersAndTimes) {
    EXPECT_EQ(*parse_integer("0x10"), 16u);
    EXPECT_EQ(*parse_integer("2G"), 2'000'000'000u);
    EXPECT_EQ(*parse_integer("1_000"), 1000u);
    EXPECT_FALSE(parse_integer("0x"));
    EXPECT_FALSE(parse_integer("0x1g"));
    EXPECT_EQ(*parse_milliseconds("90"), 90'000u);
    EXPECT_EQ(*parse_milliseconds("1.5"), 1500u);
    EXPECT_EQ(*parse_milliseconds("10min"), 600'000u);
    EXPECT_EQ(*parse_milliseconds("250ms"), 250u);
    EXPECT_FALSE(parse_milliseconds("1 fortnight"));
}

TEST(OptionValues, EditDistance) {
    EXPECT_EQ(edit_distance("", "abc"), 3u);
    EXPECT_EQ(edit_distance("model", "modle"), 1u);
    EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
}

}  // namespace
}  // namespace droste
