insert into job (queue, id, state, at, priority, place) values (?1, ?2, ?3, ?4, ?5, ?6)
on conflict do nothing
