select at, number, body from event
where queue = ?1
order by at desc, number desc
limit ?2
