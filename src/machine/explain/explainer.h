// SPDX-License-Identifier: Apache-2.0
// Explainer: what watches one processor for failures of VMX, and records writers when somebody asked for it.
#pragma once
#include "machine/explain/failures.h"
#include "machine/explain/field_writers.h"
#include "machine/processor.h"

namespace droste {

struct Explainer {
    /// `notes`: null unless every failure is to be told, and writers to be recorded.
    Explainer(Processor& p, unsigned number, FieldWriters& writers, HostConsole* notes)
        : feed(p.cpu, p.levels, number, writers),
          failures(p.vmx, number, notes == nullptr ? nullptr : &writers, notes) {
        p.vmx.add_observer(failures);
        if (notes == nullptr)
            return;
        p.vmx.add_observer(feed);
        p.vmx.set_field_recorder(&feed);
    }
    WriterFeed feed;
    VmxFailures failures;
};

}  // namespace droste
