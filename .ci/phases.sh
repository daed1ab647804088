# Sourced by .ci/run: where its time goes, and a limit on `make test`.
#
#     phase "lint"    ends the phase before and begins another; at exit all of them are printed.

TESTS="make test"
LIMIT=$((40 * 60)) # seconds that `make test` may take on two cores; beyond it no one waits for it any more

names=()
seconds=()
current=""
begun=$SECONDS

end_phase() {
    [ -n "$current" ] || return 0
    names+=("$current")
    seconds+=($((SECONDS - begun)))
    current=""
}

phase() {
    end_phase
    current=$1
    begun=$SECONDS
    echo "--- $1"
}

# At exit: the phases, the last of them where it stopped; and whether the tests took too long.
report() {
    local status=$? stopped=$current late="" i
    end_phase
    echo "--- time by phase, minutes:seconds"
    for i in "${!names[@]}"; do
        printf '%5d:%02d  %s\n' $((seconds[i] / 60)) $((seconds[i] % 60)) "${names[i]}"
        if [ "${names[i]}" = "$TESTS" ] && [ "${seconds[i]}" -gt "$LIMIT" ]; then
            late="$TESTS took $((seconds[i] / 60)) minutes and may take $((LIMIT / 60)): see \`make durations\`."
        fi
    done
    printf '%5d:%02d  %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "in all"
    if [ "$status" != 0 ]; then
        echo "Failed${stopped:+ in the phase \"$stopped\"}."
    fi
    if [ -n "$late" ]; then
        echo "Failed: $late"
        status=1
    fi
    exit "$status"
}
trap report EXIT
