// SPDX-License-Identifier: Apache-2.0
// Events of the same time fire in the order of scheduling, also after a load in another order.
#include <gtest/gtest.h>

#include "devices/member_event.h"
#include "fakes.h"

namespace droste::test {
namespace {

struct Part {
    Part(std::string& log, char letter) : log_(log), letter_(letter) {}
    void due(Time) { log_ += letter_; }
    void visit(Archive& archive, EventQueue& queue) { visit_event(archive, "due", queue, event); }
    std::string& log_;
    char letter_;
    MemberEvent<Part> event{*this, &Part::due};
};

TEST(MemberEvent, KeepsItsPlaceAmongEqualTimes) {
    std::string log;
    EventQueue queue, loaded;
    Part a(log, 'a'), b(log, 'b'), c(log, 'c'), idle(log, 'x');
    queue.schedule(c.event, 10);
    queue.schedule(a.event, 10);
    queue.schedule(b.event, 5);
    queue.schedule(b.event, 10);  // re-scheduled: the last of its time
    SaveArchive saved;
    for (Part* p : {&a, &b, &c, &idle}) p->visit(saved, queue);
    queue.run(10);
    EXPECT_EQ(log, "cab");
    log.clear();
    Part a2(log, 'a'), b2(log, 'b'), c2(log, 'c'), idle2(log, 'x'), late(log, 'l');
    LoadArchive load(saved.data);
    for (Part* p : {&a2, &b2, &c2, &idle2}) p->visit(load, loaded);
    EXPECT_TRUE(load.good() && load.at_end());
    EXPECT_EQ(loaded.next(), 10u);
    loaded.schedule(late.event, 10);
    loaded.run(10);
    EXPECT_EQ(log, "cabl");
    EXPECT_EQ(loaded.next(), never);
}

}  // namespace
}  // namespace droste::test
