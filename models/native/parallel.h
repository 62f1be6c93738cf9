// Independent tasks on a few threads: torch's own, where they can be had.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

constexpr int64_t SMALL_WORK = 1 << 15;  // elements below which waking a thread costs more than it brings

// GOMP_parallel of the OpenMP library that torch uses. After each of torch's operations its threads wait
// for the next one without sleeping, and take processors away from any threads but themselves.
using Team = void (*)(void (*work)(void*), void* what, unsigned threads, unsigned flags);
static Team team_of_torch = nullptr;
extern "C" void use_team(Team team) { team_of_torch = team; }

// Tasks are independent: whoever is free takes the next. Results do not depend on who does what.
inline void in_parallel(int64_t tasks, int64_t elements, int64_t threads, const std::function<void(int64_t)>& run) {
    threads = std::min(threads, tasks);
    if (threads <= 1 || elements < SMALL_WORK) {
        for (int64_t i = 0; i < tasks; ++i) run(i);
        return;
    }
    std::atomic<int64_t> next{0};
    auto work = [&] { for (int64_t i; (i = next++) < tasks;) run(i); };
    if (team_of_torch) {
        team_of_torch([](void* what) { (*static_cast<decltype(work)*>(what))(); }, &work, unsigned(threads), 0);
        return;
    }
    std::vector<std::thread> others;
    for (int64_t i = 1; i < threads; ++i) others.emplace_back(work);
    work();
    for (auto& thread : others) thread.join();
}
