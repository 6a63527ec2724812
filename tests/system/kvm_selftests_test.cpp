// SPDX-License-Identifier: Apache-2.0
// The kernel's own tests of KVM, those that take a moment: each must end as the table says.
// guest-images/kvm-selftests/run runs all of them, and docs/kvm-selftests.md tells what comes out.
#include <gmock/gmock.h>

#include <fstream>

#include "system/program.h"

namespace droste::system_test {
namespace {

using ::testing::HasSubstr;

struct Expected {
    const char* name;
    const char* skipped = nullptr;  ///< KVM's reason; null when it must pass
};

class KvmSelftests : public ::testing::Test {
protected:
    void SetUp() override { SKIP_WITHOUT_IMAGE("kvm-selftests/initramfs.cpio"); }

    /// Runs them in one machine; `words` go to the kernel's command line.
    static void expect(const std::vector<Expected>& tests, const std::string& words) {
        std::string list;
        for (const Expected& t : tests) list.append(list.empty() ? "" : ",").append(t.name);
        const Finished f = droste({"boot", "--kernel", image("kvm-selftests/vmlinuz"), "--initrd",
                                   image("kvm-selftests/initramfs.cpio"), "--memory", "2GiB", "--set",
                                   "boot.decompress=host", "--timeout", "600", "--append",
                                   "console=ttyS0 quiet cryptomgr.notests panic=-1 tests=" + list + " " + words});
        ASSERT_EQ(f.status, 0) << f.out << f.err;
        for (const Expected& t : tests) {
            const std::string shown = between(f.out, t.name);
            EXPECT_NE(shown, "") << t.name << " did not end\n" << f.out;
            EXPECT_THAT(shown, HasSubstr(t.skipped ? "SELFTEST-STATUS 4" : "SELFTEST-STATUS 0")) << t.name;
            EXPECT_THAT(shown, HasSubstr(t.skipped ? t.skipped : "")) << t.name;
            for (const char* trouble : {"Oops", "BUG", "WARNING", "unchecked MSR", "segfault"})
                EXPECT_THAT(shown, ::testing::Not(HasSubstr(trouble))) << t.name;
        }
    }

private:
    /// What a test printed, and its status; empty when it did not run to its end.
    static std::string between(const std::string& console, const std::string& name) {
        const std::string begin = "SELFTEST begin " + name, end = "SELFTEST end " + name + " ";
        const auto from = console.find(begin);
        const auto to = from == std::string::npos ? from : console.find(end, from);
        if (to == std::string::npos) return "";
        const auto status = to + end.size();
        return console.substr(from, to - from) + "SELFTEST-STATUS " +
               console.substr(status, console.find(' ', status) - status);
    }
};

TEST_F(KvmSelftests, PassOrAreSkippedForTheReasonNamed) {
    expect(
        {
            {"x86_64/cpuid_test"},
            {"x86_64/cr4_cpuid_sync_test"},
            {"x86_64/debug_regs"},
            {"x86_64/evmcs_test"},
            {"x86_64/fix_hypercall_test"},
            {"x86_64/get_msr_index_features"},
            {"x86_64/hyperv_cpuid"},
            {"x86_64/kvm_pv_test"},
            {"x86_64/max_vcpuid_cap_test"},
            {"x86_64/monitor_mwait_test"},
            {"x86_64/nested_exceptions_test"},
            {"x86_64/platform_info_test"},
            {"x86_64/pmu_event_filter_test", "use_intel_pmu() || use_amd_pmu()"},
            {"x86_64/set_boot_cpu_id"},
            {"x86_64/set_sregs_test"},
            {"x86_64/smm_test"},
            {"x86_64/state_test"},
            {"x86_64/svm_vmcall_test", "kvm_cpu_has(X86_FEATURE_SVM)"},
            {"x86_64/sync_regs_test"},
            {"x86_64/triple_fault_event_test"},
            {"x86_64/tsc_msrs_test"},
            {"x86_64/ucna_injection_test"},
            {"x86_64/userspace_io_test"},
            {"x86_64/vmx_apic_access_test"},
            {"x86_64/vmx_close_while_nested_test"},
            {"x86_64/vmx_dirty_log_test"},
            {"x86_64/vmx_exception_with_invalid_guest_state", "!vm_is_unrestricted_guest(NULL)"},
            {"x86_64/vmx_invalid_nested_guest_state"},
            {"x86_64/vmx_msrs_test"},
            {"x86_64/vmx_pmu_caps_test", "kvm_cpu_has(X86_FEATURE_PDCM)"},
            {"x86_64/vmx_set_nested_state_test"},
            {"x86_64/vmx_tsc_adjust_test"},
            {"x86_64/xapic_state_test"},
            {"x86_64/xss_msr_test"},
        },
        "");
}

/// What needs a KVM that enters only states that a CPU without "unrestricted guest" accepts.
TEST_F(KvmSelftests, PassWithoutUnrestrictedGuest) {
    expect(
        {
            {"x86_64/emulator_error_test"},
            {"x86_64/mmio_warning_test"},
            {"x86_64/set_sregs_test"},
            {"x86_64/smm_test"},
            {"x86_64/state_test"},
            {"x86_64/userspace_msr_exit_test"},
            {"x86_64/vmx_exception_with_invalid_guest_state"},
        },
        "kvm_intel.unrestricted_guest=0 kvm_intel.allow_smaller_maxphyaddr=1 kvm.force_emulation_prefix=1");
}

/// Shadow page tables instead of EPT, and no virtual-APIC acceleration.
TEST_F(KvmSelftests, PassWithShadowPaging) {
    expect(
        {
            {"x86_64/cpuid_test"},
            {"x86_64/debug_regs"},
            {"x86_64/nested_exceptions_test"},
            {"x86_64/set_sregs_test"},
            {"x86_64/smm_test"},
            {"x86_64/state_test"},
            {"x86_64/vmx_close_while_nested_test"},
            {"x86_64/vmx_invalid_nested_guest_state"},
            {"x86_64/vmx_msrs_test"},
            {"x86_64/vmx_set_nested_state_test"},
            {"x86_64/vmx_tsc_adjust_test"},
            {"x86_64/xapic_state_test"},
        },
        "kvm_intel.ept=0 kvm_intel.enable_apicv=0 kvm_intel.flexpriority=0");
}

}  // namespace
}  // namespace droste::system_test
