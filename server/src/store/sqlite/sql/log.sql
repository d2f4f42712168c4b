select at, number, body from event
where queue = ?1 and (at, number) > (?2, ?3)
order by at, number
limit ?4
