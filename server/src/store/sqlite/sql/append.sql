insert into event (queue, number, at, body, upto) values (?1, ?2, ?3, ?4, ?5)
