"""Which convention explains two training runs that diverge: optimisers and schedules."""
