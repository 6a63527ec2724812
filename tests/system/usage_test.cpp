// SPDX-License-Identifier: Apache-2.0
// What users do wrong, on real images: one sentence that names place and remedy, and status 2 before any work.
#include <gmock/gmock.h>

#include <fstream>

#include "system/program.h"

namespace droste::system_test {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

/// Expects the refusal of a command line; all of `parts` must be said.
void expect_refused(const std::vector<std::string>& arguments, const std::vector<std::string>& parts) {
    std::string shown;
    for (const std::string& a : arguments)
        shown += a + " ";
    SCOPED_TRACE(shown);
    const Finished f = droste(arguments);
    EXPECT_EQ(f.status, 2);
    EXPECT_EQ(f.out, "");
    EXPECT_THAT(f.err, AllOf(StartsWith("droste: "), EndsWith("\n")));
    EXPECT_EQ(std::count(f.err.begin(), f.err.end(), '\n'), 1) << f.err;
    for (const std::string& part : parts)
        EXPECT_THAT(f.err, HasSubstr(part));
}

class Usage : public ::testing::Test {
protected:
    void SetUp() override { SKIP_WITHOUT_IMAGE("linux-boot/vmlinuz"); }
    std::vector<std::string> boot(std::vector<std::string> more) const {
        more.insert(more.begin(), {"boot", "--kernel", kernel_});
        return more;
    }
    std::vector<std::string> stack(std::vector<std::string> more) const {
        more.insert(more.begin(), {"run", source_file("configs/kvm-stack.toml")});
        return more;
    }
    const std::string kernel_ = image("linux-boot/vmlinuz");
    const Folder folder_;
};

TEST_F(Usage, KernelsThatCannotBeStarted) {
    const std::string whole = slurp(kernel_);
    const auto part = [&](std::size_t size) {
        return folder_.write("part-" + std::to_string(size), whole.substr(0, size));
    };
    for (const std::size_t size : {whole.size() / 2, whole.size() - 4096, std::size_t{40000}, std::size_t{600}})
        expect_refused({"boot", "--kernel", part(size)}, {"part-" + std::to_string(size), "fetch it again"});
    expect_refused({"boot", "--kernel", part(100)}, {"part-100", "no kernel image"});
    expect_refused({"boot", "--kernel", folder_.write("empty", "")}, {"boot.kernel", "--kernel", "empty"});
    expect_refused({"boot", "--kernel", folder_.file("none")}, {"boot.kernel", "there is no such file"});
    expect_refused({"boot", "--kernel", folder_.file("")}, {"boot.kernel", "not a regular file"});
    expect_refused({"boot", "--kernel", folder_.write("noise", std::string(100'000, 'x'))},
                   {"noise", "name a Linux bzImage"});
}

TEST_F(Usage, PackedKernelsThatAreDamaged) {
    std::string damaged = slurp(kernel_);
    for (std::size_t at = damaged.size() / 2; at < damaged.size() / 2 + 100'000; ++at)
        damaged[at] = '\xFF';
    expect_refused({"boot", "--kernel", folder_.write("damaged", damaged), "--set", "boot.decompress=host"},
                   {"damaged", "payload"});
}

TEST_F(Usage, MemoryThatDoesNotSuffice) {
    for (const char* size : {"16MiB", "64MiB"})
        expect_refused(boot({"--memory", size}), {"vmlinuz", "raise memory.size"});
    const std::string big = folder_.write("big.img", std::string(100u << 20, 'b'));
    expect_refused(boot({"--memory", "128MiB", "--initrd", big}), {"big.img", "raise memory.size"});
    expect_refused(boot({"--memory", "1000GiB"}), {"--memory", "memory.size", "out of range", "64GiB"});
    expect_refused(boot({"--memory", "many"}), {"--memory", "memory.size", "\"many\" is not a size"});
}

TEST_F(Usage, DepthsThatAreNone) {
    for (const char* depth : {"0", "40"})
        expect_refused(stack({"--depth", depth}), {"--depth", "stack.depth", "from 1 to 32"});
    for (const char* depth : {"two", "-1", "1.5", ""})
        expect_refused(stack({"--depth", depth}), {"--depth", "stack.depth", "not a whole number"});
}

TEST_F(Usage, KeysAndValuesThatAreUnknown) {
    const auto with = [&](const char* text) { return std::vector<std::string>{"run", folder_.write("s.toml", text)}; };
    expect_refused(with("[memory]\nsise = \"1GiB\"\n"), {"s.toml:2", "memory.sise", "did you mean memory.size?"});
    expect_refused(with("[memory]\nsize = true\n"), {"s.toml:2", "memory.size must be a size"});
    expect_refused(with("[memory\n"), {"s.toml:1", "not TOML"});
    expect_refused(stack({"--set", "timing.table=zen"}), {"--set", "timing.table", "\"zen\"", "skylake-sp"});
    expect_refused(stack({"--set", "cpu.model=zen"}), {"--set", "cpu.model", "\"zen\"", "skylake-sp"});
    expect_refused(stack({"--set", "cpu.features=-frob"}), {"--set", "cpu.features", "-frob"});
    expect_refused(stack({"--set", "vmx.capabilities=-frob"}), {"--set", "vmx.capabilities", "-frob"});
    expect_refused(stack({"--set", "memory.size"}), {"--set", "KEY=VALUE"});
    expect_refused({"run", folder_.file("none.toml")}, {"none.toml", "cannot be opened"});
    expect_refused({"run", folder_.file("")}, {"this is a folder"});
}

TEST_F(Usage, ReportsThatCannotBeWritten) {
    expect_refused(stack({"--json", folder_.file("none/run.json")}), {"--json", "none/run.json"});
    expect_refused(stack({"--json", folder_.file("")}), {"--json", "cannot be written"});
}

}  // namespace
}  // namespace droste::system_test
